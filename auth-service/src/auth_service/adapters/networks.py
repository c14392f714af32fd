"""The networks that an account is known at, in Postgres."""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import known_network as _table
from auth_service.domain.model import Owner

__all__ = ["PostgresNetworks"]


class PostgresNetworks:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def know(self, owner: Owner, network: str, now: datetime, *, forget_before: datetime) -> None:
        row = {"tenant_id": owner.tenant_id, "user_id": owner.user_id, "network": network, "last_at": now}
        seen = insert(_table).values(row).on_conflict_do_update(index_elements=["user_id", "network"], set_={"last_at": now})
        await self._connection.execute(seen)
        gone = (_table.c.user_id == owner.user_id, _table.c.last_at <= forget_before)
        await self._connection.execute(delete(_table).where(*gone))
