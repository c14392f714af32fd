"""Routes, and how they describe themselves."""
