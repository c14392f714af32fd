"""`kalpi usage …`: whether what was counted is what was spent."""

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated

import typer
from nats.errors import Error as NatsError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ratelimit_service.adapters.counters import RedisCounters
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.adapters.usage_units import PostgresUnits
from ratelimit_service.domain.reconciling import Counted, Difference, Report, reconcile
from ratelimit_service.domain.subjects import counts_day, is_together
from shared.clock import system_clock
from shared.errors import KalpiError, Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PLANS_KEY
from shared.limits.plans import PlanBook
from shared.store import open_store
from shared.subjects import USAGE_STREAM

__all__ = ["app"]

_WITHIN_S = 60.0
_DIFFERENT, _FAILED = 1, 2

app = typer.Typer(no_args_is_help=True, help="What was asked, as it was counted.")


@app.callback()
def _usage() -> None:
    """Usage, as it was counted."""


@app.command("reconcile")
def reconcile_(
    database_url: Annotated[str, typer.Option(envvar="DATABASE_URL", help="ratelimit-service's database")],
    redis_url: Annotated[str, typer.Option(envvar="REDIS_URL", help="where the counters are")],
    nats_url: Annotated[str, typer.Option(envvar="NATS_URL", help="where events wait; empty: not looked at")] = "",
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC; today unless given")] = None,
    most: Annotated[int, typer.Option(min=0, help="differences that are shown, the largest first")] = 50,
) -> None:
    """Compares the day's units in Postgres with the counters in Redis. Ends with 0 where they agree, 1 where they do not, and 2
    where they cannot be read.

    A counter keeps its day until its subject asks again on a later one, and for two days at most.
    """
    of = day.date() if day is not None else system_clock().astimezone(UTC).date()
    try:
        report, lost, waiting = asyncio.run(_compare(database_url, redis_url, nats_url, of))
    except KalpiError as error:
        sys.stderr.write(f"{error.detail}\n")
        raise typer.Exit(_FAILED) from None
    sys.stdout.write("".join(f"{line}\n" for line in _told(report, lost, waiting, of, most)))
    raise typer.Exit(_DIFFERENT if report.differences else 0)


async def _compare(database_url: str, redis_url: str, nats_url: str, of: date) -> tuple[Report, tuple[int, int], int | None]:
    database = PostgresDatabase(database_url, service="kalpi-usage", pool_size=1, within_s=_WITHIN_S, away="usage cannot be read")
    async with database, open_store(redis_url) as redis:
        units, counters = PostgresUnits(database.connection), RedisCounters(redis)
        book = await _book(redis)
        # Postgres first: what is spent meanwhile is then more in the counters, as whatever is under way is
        spent = await units.of(of)
        used = await counters.used_by_all(of)
        report = reconcile(_counted(spent, used, book), used, await counters.leased(of))
        return report, await units.lost(of), await _waiting(nats_url)


def _counted(spent: Mapping[str, tuple[int, str]], used: Mapping[str, int], book: PlanBook) -> dict[str, Counted]:
    """Without the totals of tenants that have no quota of all their members, as nearly all have none."""
    now = system_clock()
    limited = {subject: counts_day(subject, tier, book, now) for subject, (_, tier) in spent.items()}
    return {
        subject: Counted(units, limited[subject])
        for subject, (units, _) in spent.items()
        if limited[subject] or subject in used or not is_together(subject)
    }


async def _book(redis: Redis) -> PlanBook:
    try:
        text = await redis.get(PLANS_KEY)
    except (RedisError, OSError) as error:
        raise Unavailable("the plans in Redis cannot be read") from error
    if text is None:
        raise Unavailable("there are no plans in Redis")
    return PlanBook.model_validate_json(text)


async def _waiting(nats_url: str) -> int | None:
    """Batches that no ratelimit-service has taken yet; None where nobody is asked."""
    if not nats_url:
        return None
    async with EventBus(nats_url, service="kalpi-usage", clock=system_clock, new_id=new_id) as bus:
        try:
            return (await bus.jetstream.stream_info(USAGE_STREAM)).state.messages
        except (NatsError, OSError) as error:
            raise Unavailable("the stream of usage cannot be looked at") from error


def _told(report: Report, lost: tuple[int, int], waiting: int | None, of: date, most: int) -> list[str]:
    lines = [_line(one) for one in report.differences[:most]]
    if len(report.differences) > most:
        lines.append(f"… and {len(report.differences) - most} more")
    on_the_way = f", {waiting} batches not taken yet" if waiting is not None else ""
    sums = f"over by {report.over} units, under by {report.under}"
    compared = f"{report.equal} subjects agree, {len(report.differences)} differ ({sums}), {report.unlimited} without a quota"
    return [*lines, f"{of}: {compared}; {lost[0]} events of {lost[1]} units were lost{on_the_way}"]


def _line(one: Difference) -> str:
    counter = "none" if one.counter is None else one.counter
    leased = f" leased={one.leased}" if one.leased else ""
    return f"{one.subject} {one.kind} by {abs(one.by)}: postgres={one.units} redis={counter}{leased}"
