"""HTTP: routes, schemas, dependencies."""
