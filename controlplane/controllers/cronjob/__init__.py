"""CronJobs: Jobs at appointed times."""
