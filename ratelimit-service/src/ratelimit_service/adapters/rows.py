"""The rows of plans, overrides and changes, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, delete, exists, func, insert, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from ratelimit_service.adapters.tables import change as _changes
from ratelimit_service.adapters.tables import plan_version as _versions
from ratelimit_service.adapters.tables import tenant_override as _overrides
from ratelimit_service.adapters.usage_tables import usage_units as _units
from ratelimit_service.domain.model import Change, OverrideState, PlanVersion, Source, TenantOverride
from ratelimit_service.domain.ports import ChangeFilter
from shared.limits.plans import Override

__all__ = ["PostgresRows"]

_LOCK = int.from_bytes(b"rateplan")
_ARCHIVED_AT_ONCE = 500
_with_change: Select[Any] = select(
    *(column for column in _versions.c if column.name != "seq"), *(column.label(f"of_{column.name}") for column in _changes.c)
).join_from(_versions, _changes)


class PostgresRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self) -> None:
        # until the transaction ends: whose `seq` is higher has then been committed later
        await self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))

    async def add_change(self, change: Change) -> Change:
        values = {name: value for name, value in asdict(change).items() if name != "seq"}
        seq = (await self._connection.execute(insert(_changes).values(values).returning(_changes.c.seq))).scalar_one()
        return replace(change, seq=seq)

    async def changes(self, asked: ChangeFilter, *, before: int | None, limit: int) -> Sequence[Change]:
        wanted = [_changes.c[name] == value for name, value in asdict(asked).items() if value is not None]
        if before is not None:
            wanted.append(_changes.c.seq < before)
        statement = select(_changes).where(*wanted).order_by(_changes.c.seq.desc()).limit(limit)
        return [Change(**row) for row in (await self._connection.execute(statement)).mappings()]

    async def take_back(self, day: date, units: Mapping[str, int]) -> None:
        for subject, spent in units.items():
            of_subject = (_units.c.day == day, _units.c.subject == subject)
            await self._connection.execute(update(_units).where(*of_subject).values(units=_units.c.units - spent))

    async def revision(self) -> str | None:
        of_book = _changes.c.noun.in_(["plan", "override"])
        statement = select(_changes.c.id).where(of_book).order_by(_changes.c.seq.desc()).limit(1)
        found = (await self._connection.execute(statement)).scalar_one_or_none()
        return str(found) if found is not None else None

    async def newest_version(self) -> PlanVersion | None:
        return await self._one(_with_change.order_by(_versions.c.number.desc()).limit(1))

    async def newest_of(self, source: Source) -> PlanVersion | None:
        return await self._one(_with_change.where(_versions.c.source == source).order_by(_versions.c.number.desc()).limit(1))

    async def version(self, number: int) -> PlanVersion | None:
        return await self._one(_with_change.where(_versions.c.number == number))

    async def versions(self, *, before: int | None, limit: int) -> Sequence[PlanVersion]:
        older = _versions.c.number < before if before is not None else true()
        statement = _with_change.where(older).order_by(_versions.c.number.desc()).limit(limit)
        return [_version_of(row) for row in (await self._connection.execute(statement)).mappings()]

    async def add_version(self, version: PlanVersion) -> None:
        own = {field.name: getattr(version, field.name) for field in fields(version) if field.name != "change"}
        await self._connection.execute(insert(_versions).values(**own, seq=version.change.seq))

    async def override(self, tenant_id: UUID) -> TenantOverride | None:
        statement = select(_overrides).where(_overrides.c.tenant_id == tenant_id)
        row = (await self._connection.execute(statement)).mappings().one_or_none()
        return _override_of(row) if row is not None else None

    async def overrides(
        self, state: OverrideState | None, now: datetime, *, after: UUID | None, limit: int
    ) -> Sequence[TenantOverride]:
        further = _overrides.c.tenant_id > after if after is not None else true()
        statement = select(_overrides).where(_is_in(state, now), further).order_by(_overrides.c.tenant_id).limit(limit)
        return [_override_of(row) for row in (await self._connection.execute(statement)).mappings()]

    async def count_overrides(self) -> int:
        return (await self._connection.execute(select(func.count()).select_from(_overrides))).scalar_one()

    async def put_override(self, override: TenantOverride) -> None:
        rules = override.override.model_dump(mode="json", exclude_unset=True, include={"limits", "entitlements"})
        values = {
            "starts_at": override.override.starts_at,
            "ends_at": override.override.ends_at,
            "rules": rules,
            "reason": override.reason,
            "actor": override.actor,
            "changed_at": override.changed_at,
        }
        statement = upsert(_overrides).values(tenant_id=override.tenant_id, **values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id"], set_=values))

    async def remove_override(self, tenant_id: UUID) -> None:
        await self._connection.execute(delete(_overrides).where(_overrides.c.tenant_id == tenant_id))

    async def overrides_ended(self, before: datetime) -> Sequence[TenantOverride]:
        statement = select(_overrides).where(_overrides.c.ends_at < before).limit(_ARCHIVED_AT_ONCE)
        return [_override_of(row) for row in (await self._connection.execute(statement)).mappings()]

    async def forget(self, before: datetime) -> int:
        old = _versions.c.seq.in_(select(_changes.c.seq).where(_changes.c.at < before))
        in_force = select(func.max(_versions.c.number)).scalar_subquery()
        of_file = select(func.max(_versions.c.number)).where(_versions.c.source == "file").scalar_subquery()
        kept = or_(_versions.c.number == in_force, func.coalesce(_versions.c.number == of_file, False))
        await self._connection.execute(delete(_versions).where(old, ~kept))
        unused = ~exists().where(_versions.c.seq == _changes.c.seq)
        return (await self._connection.execute(delete(_changes).where(_changes.c.at < before, unused))).rowcount

    async def _one(self, statement: Select[Any]) -> PlanVersion | None:
        row = (await self._connection.execute(statement)).mappings().one_or_none()
        return _version_of(row) if row is not None else None


def _is_in(state: OverrideState | None, now: datetime) -> ColumnElement[bool]:
    starts, ends = _overrides.c.starts_at, _overrides.c.ends_at
    if state == "ended":
        return ends <= now
    if state == "scheduled":
        return starts > now
    if state == "active":
        return or_(starts.is_(None), starts <= now) & or_(ends.is_(None), ends > now)
    return true()


def _version_of(row: RowMapping) -> PlanVersion:
    change = Change(**{column.name: row[f"of_{column.name}"] for column in _changes.c})
    own = {field.name: row[field.name] for field in fields(PlanVersion) if field.name != "change"}
    return PlanVersion(**own, change=change)


def _override_of(row: RowMapping) -> TenantOverride:
    """ValueError for rules of another release."""
    dates = {name: row[name] for name in ("starts_at", "ends_at") if row[name] is not None}
    override = Override.model_validate({**row["rules"], **dates})
    return TenantOverride(row["tenant_id"], override, row["reason"], row["actor"], row["changed_at"])
