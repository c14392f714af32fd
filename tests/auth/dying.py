"""A process that does what auth-service does, and is killed at a chosen step of an event's way.

`python -m tests.auth.dying DATABASE_URL NATS_URL` has a child for each step, one after the other: it runs the service, whose own
parts are wrapped here, changes one thing after another, and prints the id of each user it was told is registered.
"""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from nats.js.client import JetStreamContext

from auth_service.adapters.audit import PostgresAuditTrail, PostgresOutbox
from auth_service.adapters.nats import AuthFacts
from auth_service.adapters.postgres import PostgresDatabase
from tests.auth.auth_world import running_world, settings_of

Work = Callable[..., Awaitable[Any]]
STEPS = (
    "before insert",
    "after insert",
    "after commit",
    "before seal",
    "after seal",
    "after seal-commit",
    "before publish",
    "sent",
    "after publish",
    "after cursor",
    "after cursor-commit",
)
# the first of each would be the first user's alone: the chain has links, and the stream facts, before the kill
_NTH = 3
SAYS = "registered "


class Death:
    """Kills this process the `_NTH`th time it comes to `step`."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._times = itertools.count(1)

    def reach(self, now: str) -> None:
        if now == self._step and next(self._times) == _NTH:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, work: Work) -> Work:
        async def run(*arguments: Any, **named: Any) -> Any:
            self.reach(f"before {name}")
            done = await work(*arguments, **named)
            self.reach(f"after {name}")
            return done

        return run

    def committed(self, open_: Callable[..., AbstractAsyncContextManager[Any]], did: Callable[[Any], str]) -> Callable[..., Any]:
        @asynccontextmanager
        async def run(*arguments: Any) -> AsyncIterator[Any]:
            async with open_(*arguments) as opened:
                yield opened
            self.reach(f"after {did(opened)}")

        return run

    def sending(self, publish: Work) -> Work:
        """As `publish`, but at this step what was sent has left, and nobody waits for its acknowledgement."""

        async def run(stream: Any, subject: str, payload: bytes, **named: Any) -> Any:
            if self._step == "sent" and subject.startswith("kalpi.auth."):
                await stream._nc.publish(subject, payload, headers=named["headers"])
                await stream._nc.flush()
                self.reach("sent")
            return await publish(stream, subject, payload, **named)

        return run


def noting(did: str, work: Work) -> Work:
    async def run(outbox: Any, *arguments: Any) -> Any:
        outbox.did = did
        return await work(outbox, *arguments)

    return run


def die_at(step: str) -> None:
    death = Death(step)
    for cls, name, wrap in (
        (PostgresAuditTrail, "record", lambda work: death.around("insert", work)),
        (PostgresOutbox, "seal", lambda work: death.around("seal", noting("seal-commit", work))),
        (PostgresOutbox, "mark_published", lambda work: death.around("cursor", noting("cursor-commit", work))),
        (AuthFacts, "publish", lambda work: death.around("publish", work)),
        (JetStreamContext, "publish", death.sending),
        (PostgresDatabase, "transaction", lambda work: death.committed(work, lambda tx: "commit" if tx.audit.wrote else "look")),
        (PostgresDatabase, "outbox", lambda work: death.committed(work, lambda outbox: getattr(outbox, "did", "look"))),
    ):
        setattr(cls, name, wrap(getattr(cls, name)))


async def live(database_url: str, nats_url: str, step: str) -> None:
    die_at(step)
    async with running_world(settings_of(database_url, nats_url)) as world:
        while True:
            person = await world.register()
            sys.stdout.write(f"{SAYS}{person.id}\n")
            sys.stdout.flush()


def main(database_url: str, nats_url: str) -> None:
    for step in STEPS:
        pid = os.fork()
        if pid == 0:
            asyncio.run(live(database_url, nats_url, step))
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            sys.exit(f"not killed: {step}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
