"""What outlives request and reply: logs, exec, attach and port-forward, bridged to the node's agent."""
