"""Jobs: pods that run to their end, each counted exactly once."""
