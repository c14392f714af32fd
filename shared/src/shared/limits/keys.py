"""What the counters are called in the store."""

__all__ = ["EPOCH", "GATEWAYS", "LEASES", "counter"]

EPOCH, GATEWAYS, LEASES = "limits:epoch", "limits:gateways", "limits:leases"


def counter(kind: str, subject: str) -> str:
    """Of `burst`, `day` or `slots`. Without a subject it is what all of the kind begin with."""
    return f"limits:{kind}:{subject}"
