"""The data plane, and the few pages of the gateway's own."""
