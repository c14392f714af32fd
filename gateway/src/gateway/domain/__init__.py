"""Who is asking, what it costs and whether the answer is known already; no framework in here."""
