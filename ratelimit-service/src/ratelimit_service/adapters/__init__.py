"""The plan file, Redis and NATS."""
