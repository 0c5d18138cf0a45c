"""Who asks (authn), and whether they may (authz)."""
