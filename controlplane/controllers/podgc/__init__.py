"""Pods that nobody else would ever remove."""
