"""Look-ups that are asked for at the same time share a question, and none waits for a question that is not answered."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain.lookups import MOST_AT_ONCE, Lookups
from gateway.domain.ports import Identity, Resolved
from shared.errors import Unavailable
from tests.gateway.test_gateway_callers import ANN

KNOWN = Resolved(ANN, None)


def identity(number: int) -> Identity:
    return Identity(key_sha256=f"{number:064x}")


class Auth:
    """Knows those of an even number. A question waits for its turn in `held`, where there is one."""

    def __init__(self, *held: asyncio.Event) -> None:
        self.asked: list[list[Identity]] = []
        self.held = list(held)
        self.away = False

    async def resolve(self, identities: Sequence[Identity]) -> Sequence[Resolved | None]:
        self.asked.append(list(identities))
        if self.held:
            await self.held.pop(0).wait()
        if self.away:
            raise Unavailable("away")
        return [KNOWN if int(one.key_sha256 or "", 16) % 2 == 0 else None for one in identities]

    async def signing_keys(self) -> Mapping[str, Any]:
        return {}


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_what_is_asked_for_at_once_is_one_question_and_each_has_its_own_answer() -> None:
    auth = Auth()
    lookups = Lookups(auth)
    answers = await asyncio.gather(*(lookups.resolve(identity(number)) for number in range(6)))
    assert answers == [KNOWN, None] * 3
    assert auth.asked == [[identity(number) for number in range(6)]]


async def test_a_question_is_about_so_many_and_no_more() -> None:
    auth = Auth()
    lookups = Lookups(auth)
    answers = await asyncio.gather(*(lookups.resolve(identity(2 * number)) for number in range(2 * MOST_AT_ONCE + 1)))
    assert answers == [KNOWN] * (2 * MOST_AT_ONCE + 1)
    assert [len(asked) for asked in auth.asked] == [MOST_AT_ONCE, MOST_AT_ONCE, 1]


async def test_a_question_that_is_not_answered_holds_up_nobody_else() -> None:
    silent = asyncio.Event()
    auth = Auth(silent)
    lookups = Lookups(auth)
    first = asyncio.create_task(lookups.resolve(identity(2)))
    await turns()
    assert await lookups.resolve(identity(4)) == KNOWN
    assert not first.done()
    silent.set()
    assert await first == KNOWN


async def test_what_comes_while_enough_questions_are_under_way_goes_out_together() -> None:
    held = [asyncio.Event() for _ in range(4)]
    auth = Auth(*held)
    lookups = Lookups(auth)
    asking = []
    for number in range(40):
        asking.append(asyncio.create_task(lookups.resolve(identity(2 * number))))
        await turns()
    assert [len(asked) for asked in auth.asked] == [1] * 4
    held[1].set()
    await asyncio.gather(*asking[4:])
    assert [len(asked) for asked in auth.asked[4:]] == [36]
    for one in held:
        one.set()
    assert await asyncio.gather(*asking) == [KNOWN] * 40


async def test_what_is_asked_for_once_a_question_is_on_its_way_is_for_the_next() -> None:
    on_its_way = asyncio.Event()
    auth = Auth(on_its_way)
    lookups = Lookups(auth)
    first = asyncio.create_task(lookups.resolve(identity(2)))
    await turns()
    assert await lookups.resolve(identity(2)) == KNOWN
    assert len(auth.asked) == 2
    on_its_way.set()
    await first


async def test_who_goes_away_takes_the_answer_from_nobody_and_a_failure_is_everybodys() -> None:
    silent = asyncio.Event()
    auth = Auth(silent)
    lookups = Lookups(auth)
    asking = [asyncio.create_task(lookups.resolve(identity(2 * number))) for number in range(3)]
    await turns()
    asking[0].cancel()
    silent.set()
    assert await asyncio.gather(*asking[1:]) == [KNOWN] * 2
    auth.away = True
    failed = await asyncio.gather(*(lookups.resolve(identity(number)) for number in range(3)), return_exceptions=True)
    assert [type(one) for one in failed] == [Unavailable] * 3
    auth.away = False
    assert await lookups.resolve(identity(2)) == KNOWN, "it goes on"
