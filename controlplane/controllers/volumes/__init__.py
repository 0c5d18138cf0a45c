"""Claims and volumes: who belongs to whom, local directories made on request, and nothing deleted that is in use."""
