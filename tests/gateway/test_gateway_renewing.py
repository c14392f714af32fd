"""Callers who are used are asked for again before their time is over: many in one question, which nobody waits for."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.domain.callers import Callers
from gateway.domain.credentials import ApiKey
from gateway.domain.errors import BadCredential
from gateway.domain.lookups import MOST_AT_ONCE
from gateway.domain.ports import Identity, Resolved
from gateway.domain.tokens import SigningKeys, TokenVerifier
from shared.errors import Unavailable
from tests.gateway.conftest import Market, Origin
from tests.gateway.test_gateway_callers import ANN, START, Auth, Clock
from tests.support.poll import until


class Crowd:
    """Keys, each of a user of its own, at one gateway."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.auth = Auth()
        self.callers = Callers(self.auth, TokenVerifier(SigningKeys(self.auth), self.clock), self.clock)

    def stands_for(self, number: int, **changes: Any) -> Resolved:
        whom = {"user_id": f"user-{number}", "tenant_id": f"tenant-{number}", "key_id": f"key-{number}", **changes}
        resolved = Resolved(ANN.model_copy(update=whom), None)
        self.auth.others[self.identity(number)] = resolved
        return resolved

    @staticmethod
    def identity(number: int) -> Identity:
        return Identity(key_sha256=f"{number:064x}")

    async def resolve(self, *numbers: int) -> None:
        """As by their first request."""
        for number in numbers:
            if self.identity(number) not in self.auth.others:
                self.stands_for(number)
            await self.callers.resolve(self.identity(number))
            self.callers.remember(self._shown(number), ApiKey(f"{number:064x}"), self.identity(number))
        self.auth.batches.clear()

    def use(self, *numbers: int) -> list[Resolved | None]:
        """As by their further requests: nobody is asked."""
        return [self.callers.recognise(self._shown(number), self.clock()) for number in numbers]

    @staticmethod
    def _shown(number: int) -> tuple[bytes, bytes]:
        return b"x-api-key", b"%d" % number


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


async def test_who_is_used_is_asked_for_in_one_question_before_the_time_is_over(crowd: Crowd) -> None:
    await crowd.resolve(1, 2, 3)
    for _ in range(5):
        crowd.clock.pass_(6.9)
        crowd.use(1, 2, 3)
        await crowd.callers.renew()
        crowd.clock.pass_(0.1)
        await crowd.callers.renew()
    assert crowd.auth.batches == [[crowd.identity(number) for number in (1, 2, 3)]] * 5
    assert None not in crowd.use(1, 2, 3)


async def test_who_is_not_used_is_not_asked_for(crowd: Crowd) -> None:
    await crowd.resolve(1, 2)
    crowd.use(2)
    crowd.clock.pass_(7)
    await crowd.callers.renew()
    assert crowd.auth.batches == [[crowd.identity(2)]]
    crowd.clock.pass_(7)
    await crowd.callers.renew()
    assert len(crowd.auth.batches) == 1, "it was not used since it was renewed"
    crowd.clock.pass_(3)
    assert crowd.use(1, 2) == [None, None]


async def test_a_caller_who_is_looked_up_on_the_long_way_is_used_as_well(crowd: Crowd) -> None:
    await crowd.resolve(1)
    assert crowd.callers.known(crowd.identity(1)) is not None
    crowd.clock.pass_(7)
    await crowd.callers.renew()
    assert len(crowd.auth.batches) == 1


async def test_one_question_is_about_so_many_and_no_more(crowd: Crowd) -> None:
    everyone = range(MOST_AT_ONCE + 10)
    await crowd.resolve(*everyone)
    crowd.use(*everyone)
    crowd.clock.pass_(7)
    await crowd.callers.renew()
    assert [len(batch) for batch in crowd.auth.batches] == [MOST_AT_ONCE, 10]


async def test_without_auth_service_a_caller_is_recognised_until_ten_seconds_after_the_last_look_up(crowd: Crowd) -> None:
    await crowd.resolve(1)
    crowd.use(1)
    crowd.clock.pass_(7)
    await crowd.callers.renew()
    crowd.auth.away = True
    crowd.clock.pass_(9.9)
    assert None not in crowd.use(1)
    await crowd.callers.renew()
    crowd.clock.pass_(0.1)
    assert crowd.use(1) == [None]
    assert crowd.callers.known(crowd.identity(1)) is None


async def test_a_question_that_was_not_answered_is_asked_again_while_it_is_of_use(crowd: Crowd) -> None:
    await crowd.resolve(1, 2)
    crowd.use(1, 2)
    crowd.clock.pass_(7)
    crowd.auth.away = True
    await crowd.callers.renew()
    crowd.auth.away = False
    crowd.clock.pass_(1)
    await crowd.callers.renew()
    crowd.clock.pass_(9.9)
    assert None not in crowd.use(1, 2)
    crowd.auth.away = True
    await crowd.callers.renew()
    crowd.clock.pass_(0.1)
    asked = crowd.auth.asked
    await crowd.callers.renew()
    assert crowd.auth.asked == asked, "they are no longer known"


async def test_the_time_is_counted_from_when_it_was_asked_and_not_from_the_answer(crowd: Crowd) -> None:
    await crowd.resolve(1)
    crowd.use(1)
    crowd.clock.pass_(7)
    renewing = await held(crowd)
    crowd.clock.pass_(2)
    await let_go(crowd, renewing)
    crowd.clock.pass_(7.9)
    assert None not in crowd.use(1)
    crowd.clock.pass_(0.1)
    assert crowd.use(1) == [None]


async def held(crowd: Crowd) -> "asyncio.Task[None]":
    """A renewal that auth-service has answered, and whose answer is on its way."""
    crowd.auth.held = asyncio.Event()
    crowd.auth.being_asked.clear()
    renewing = asyncio.create_task(crowd.callers.renew())
    await crowd.auth.being_asked.wait()
    return renewing


async def let_go(crowd: Crowd, renewing: "asyncio.Task[None]") -> None:
    assert crowd.auth.held is not None
    crowd.auth.held.set()
    crowd.auth.held = None
    await renewing


@pytest.mark.parametrize("concerned", ["user-1", "key-1", "tenant-1"])
async def test_who_is_revoked_while_being_renewed_stays_revoked(crowd: Crowd, concerned: str) -> None:
    await crowd.resolve(1, 2)
    crowd.use(1, 2)
    crowd.clock.pass_(7)
    renewing = await held(crowd)
    crowd.callers.evict(concerned)
    await let_go(crowd, renewing)
    assert crowd.callers.known(crowd.identity(1)) is None
    assert crowd.use(1) == [None]
    crowd.clock.pass_(9)
    assert None not in crowd.use(2), "who is not concerned is renewed"


async def test_an_answer_on_its_way_does_not_replace_what_was_asked_after_a_revocation(crowd: Crowd) -> None:
    await crowd.resolve(1)
    crowd.use(1)
    crowd.clock.pass_(7)
    renewing = await held(crowd)
    crowd.callers.evict("user-1")
    after = crowd.stands_for(1, tier="free")
    crowd.auth.held, on_its_way = None, crowd.auth.held
    await crowd.resolve(1)
    crowd.auth.held = on_its_way
    await let_go(crowd, renewing)
    assert crowd.use(1) == [after]


async def test_who_became_somebody_else_while_others_were_revoked_is_asked_for_anew(crowd: Crowd) -> None:
    """What was revoked may be what the answer is about, which was not known before."""
    await crowd.resolve(1)
    crowd.use(1)
    crowd.clock.pass_(7)
    crowd.stands_for(1, tenant_id="another")
    renewing = await held(crowd)
    crowd.callers.evict("another")
    await let_go(crowd, renewing)
    assert crowd.use(1) == [None]


async def test_what_has_changed_counts_from_the_renewal_on_and_ends_with_its_own_facts(crowd: Crowd) -> None:
    await crowd.resolve(1)
    crowd.use(1)
    crowd.clock.pass_(7)
    moved = crowd.stands_for(1, tenant_id="another", tier="premium")
    await crowd.callers.renew()
    assert crowd.use(1) == [moved]
    crowd.callers.evict("tenant-1")
    assert crowd.use(1) == [moved]
    crowd.callers.evict("another")
    assert crowd.use(1) == [None]


async def test_who_is_nobody_any_more_is_forgotten_by_the_renewal(crowd: Crowd) -> None:
    await crowd.resolve(1, 2)
    crowd.use(1, 2)
    crowd.clock.pass_(7)
    crowd.auth.others[crowd.identity(1)] = None
    await crowd.callers.renew()
    assert crowd.use(1) == [None]
    assert None not in crowd.use(2)
    with pytest.raises(BadCredential):
        await crowd.callers.resolve(crowd.identity(1))
    crowd.auth.away = True
    with pytest.raises(Unavailable):
        await crowd.callers.resolve(crowd.identity(1))


async def test_a_gap_in_the_facts_counts_for_who_is_being_renewed(crowd: Crowd) -> None:
    await crowd.resolve(1)
    crowd.use(1)
    crowd.clock.pass_(7)
    renewing = await held(crowd)
    crowd.clock.pass_(1)
    crowd.callers.expire()
    await let_go(crowd, renewing)
    assert crowd.use(1) == [None], "it was asked for before the gap"


async def test_a_renewed_key_is_not_used_beyond_its_end(crowd: Crowd) -> None:
    ending = Resolved(crowd.stands_for(1).principal, START + timedelta(seconds=12))
    crowd.auth.others[crowd.identity(1)] = ending
    await crowd.resolve(1)
    crowd.use(1)
    crowd.clock.pass_(7)
    await crowd.callers.renew()
    crowd.clock.pass_(4.9)
    assert crowd.use(1) == [ending]
    crowd.clock.pass_(0.1)
    assert crowd.use(1) == [None]


async def test_a_renewed_credential_is_remembered_and_one_that_ended_is_not(crowd: Crowd) -> None:
    await crowd.resolve(1, 2)
    crowd.use(2)
    crowd.clock.pass_(7)
    await crowd.callers.renew()
    crowd.clock.pass_(3)
    await crowd.callers.renew()
    assert list(crowd.callers._shown) == [(b"x-api-key", b"2")]


async def test_a_gateway_renews_a_key_that_is_in_use(
    gateway: httpx.AsyncClient, origin: Origin, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.domain.callers.RENEWED_AT", timedelta(seconds=0.2))
    headers, _ = origin.new_person("many")

    async def renewed() -> bool:
        answer = await gateway.get(f"/api/v1/indicators/sma?symbol={market.symbol}", headers=headers)
        assert answer.status_code in {200, 429}
        return origin.resolves >= 4

    await until(renewed, what="renewals, within the ten seconds of the first look-up")
