"""The plan file as it changes, and use as a client reads it; no framework in here."""
