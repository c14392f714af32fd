"""Who counts: users who are not disabled, in a tenant that is not."""

from auth_service.domain.model import User
from auth_service.domain.ports import Transaction

__all__ = ["counts"]


async def counts(tx: Transaction, user: User) -> bool:
    """Of a transaction of their tenant. Nobody learns which of the two it is: both are answered like a user who is not there."""
    if not user.is_active:
        return False
    tenant = await tx.tenants.get(user.tenant_id)
    return tenant is not None and tenant.is_active
