"""Processes that publish plans as ratelimit-service does, and are killed at a chosen step of their way.

`python -m tests.ratelimit.dying DATABASE_URL REDIS_URL NATS_URL PLAN_FILE` has a child for each line `STEP DAY` that it reads,
and says `killed` when it was.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from pydantic import SecretStr

from ratelimit_service.domain.model import Origin
from ratelimit_service.settings import Settings
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.store import open_store
from tests.ratelimit.conftest import parts_of, plans_with
from tests.support.principals import PRINCIPAL_KEYS

STEPS = ("committed", "written", "told")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def publish(settings: Settings, step: str, text: str) -> None:
    redis_url, nats_url = settings.redis_url.get_secret_value(), settings.nats_url.get_secret_value()
    bus = EventBus(nats_url, service="dying", clock=system_clock, new_id=new_id)
    async with open_store(redis_url) as redis, bus, parts_of(settings, redis, bus) as parts:
        await parts.control.look()
        newest = await parts.publishing.newest()
        assert newest is not None
        await parts.publishing.publish(text, replaces=newest.number, reason="", origin=Origin("ann"))
        if step == "committed":
            die()
        if step == "written":
            setattr(parts.published, "tell", dead)  # noqa: B010 - of an object that is not ours to change
        await parts.control.look()
        die()


async def dead(_revision: str) -> None:
    die()


def main(database_url: str, redis_url: str, nats_url: str, path: str) -> None:
    settings = Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        plans_path=Path(path),
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        nats_url=SecretStr(nats_url),
    )
    for line in sys.stdin:
        step, day = line.split()
        pid = os.fork()
        if pid == 0:
            asyncio.run(publish(settings, step, plans_with(int(day))))
        _, status = os.waitpid(pid, 0)
        killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        sys.stdout.write("killed\n" if killed else f"not killed at {step}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
