"""What indicators there are and how they are computed; no framework in here."""
