"""What the domain's ports are in this world: Postgres, NATS, argon2, JWT."""
