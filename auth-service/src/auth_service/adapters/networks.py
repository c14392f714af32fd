"""The networks that an account is known at, in Postgres."""

from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import known_network as _table
from auth_service.domain.model import Owner

__all__ = ["PostgresNetworks"]


class PostgresNetworks:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def know(self, owner: Owner, network: str, now: datetime) -> None:
        row = {"tenant_id": owner.tenant_id, "user_id": owner.user_id, "network": network, "last_at": now}
        seen = insert(_table).values(row).on_conflict_do_update(index_elements=["user_id", "network"], set_={"last_at": now})
        await self._connection.execute(seen)
