"""data-service, from here."""
