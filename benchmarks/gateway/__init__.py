"""The gateway beside other gateways, and against its own targets. Run by `make bench`."""
