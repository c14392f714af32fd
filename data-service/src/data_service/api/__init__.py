"""Routes, schemas and what they depend on."""
