"""The edge: authenticate, limit, cache, forward."""
