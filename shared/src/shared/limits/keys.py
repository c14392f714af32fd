"""What the counters are called in the store."""

__all__ = ["EPOCH", "GATEWAYS", "LEASES", "counter", "members_of"]

EPOCH, GATEWAYS, LEASES = "limits:epoch", "limits:gateways", "limits:leases"


def counter(kind: str, subject: str) -> str:
    """Of `burst`, `day` or `slots`. Without a subject it is what all of the kind begin with."""
    return f"limits:{kind}:{subject}"


def members_of(tenant: str) -> str:
    """The subject of what all members of a tenant may do together, each from which counter ever."""
    return f"members:{tenant}"
