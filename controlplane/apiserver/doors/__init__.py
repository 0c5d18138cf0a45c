"""The two ways in: HTTP for the world, gRPC for the cluster's own parts. Both thin; the Api does the work."""
