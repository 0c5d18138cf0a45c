"""What the API server asks of this node: logs, exec, attach, port-forward, stats. gRPC, mutual TLS."""

from node_agent.server.service import NodeServer, Tls, start_server

__all__ = ["NodeServer", "Tls", "start_server"]
