"""auth-service, the services behind the edge, Redis and NATS."""
