"""What a tier allows, and what was used of it."""
