"""Look-ups at auth-service, many in one question: those asked for while others are under way go out together (docs/adr/0028)."""

import asyncio
from collections.abc import Mapping

from gateway.domain.ports import AuthService, Identity, Resolved

__all__ = ["MOST_AT_ONCE", "Lookups"]

MOST_AT_ONCE = 256
_UNDER_WAY = 4
"""Questions at a time: one that its instance does not answer holds up nobody else."""

Answers = Mapping[Identity, Resolved | None]


class Lookups:
    def __init__(self, auth: AuthService) -> None:
        self._auth = auth
        self._turns = asyncio.Semaphore(_UNDER_WAY)
        self._gathered: list[Identity] = []
        self._answers: asyncio.Task[Answers] | None = None

    async def resolve(self, identity: Identity) -> Resolved | None:
        """None when it names nobody valid; Unavailable. It is asked after this call, never before."""
        if self._answers is None or len(self._gathered) >= MOST_AT_ONCE:
            self._gathered = []
            self._answers = asyncio.create_task(self._ask(self._gathered))
            self._answers.add_done_callback(_heard)
        self._gathered.append(identity)
        # shielded: one that goes away must not take the answer from the others
        answers = await asyncio.shield(self._answers)
        return answers[identity]

    async def _ask(self, identities: list[Identity]) -> Answers:
        async with self._turns:
            if identities is self._gathered:
                self._answers = None
            return dict(zip(identities, await self._auth.resolve(identities), strict=True))


def _heard(answers: "asyncio.Task[Answers]") -> None:
    if not answers.cancelled():
        answers.exception()  # whoever still waits gets it; when nobody does, it is no news either
