"""Counters set back: what was used of a quota is forgotten, and who asked for that is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC

from ratelimit_service.domain.model import Origin
from ratelimit_service.domain.ports import Counters, Database, Gateways
from ratelimit_service.domain.subjects import Kind, subjects_of
from ratelimit_service.domain.versions import Recorder

__all__ = ["Resetting"]


@dataclass(frozen=True, slots=True)
class Resetting:
    counters: Counters
    gateways: Gateways
    database: Database
    recorder: Recorder

    async def reset(self, kind: Kind, name: str, reason: str, origin: Origin) -> Mapping[str, int]:
        """What was used of each day's quota, by its counter. InvalidInput; Unavailable while Postgres, Redis or NATS is away.

        The row comes first: nothing is set back that nobody knows of. What was written down, and then could not be done, is done
        by asking again. What was counted goes as well, or a store that was emptied would be given it again. What is being
        computed keeps its slots.
        """
        subjects = subjects_of(kind, name)
        today = self.recorder.clock().astimezone(UTC).date()
        used = await self.counters.used(today, subjects)
        told = {f"day:{subject}": units for subject, units in used.items()}
        reset = self.recorder.change(origin, "counter", "reset", subjects[0], reason=reason, before=told)
        async with self.database.begin() as rows:
            await rows.add_change(reset)
            await rows.take_back(today, used)
        await self.counters.clear(subjects)
        await self.gateways.forget(subjects)
        return told
