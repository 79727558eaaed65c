"""gRPC as a second transport of the planes: its calls become requests of endpoints, as HTTP's do."""
