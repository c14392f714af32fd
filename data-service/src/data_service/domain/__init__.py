"""Bars and what may be asked of them; no framework in here."""
