"""Deployments: a new ReplicaSet for every template, and the way from the old ones to the new one."""
