"""PodDisruptionBudgets: how many pods may be disturbed now."""
