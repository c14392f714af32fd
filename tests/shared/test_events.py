"""Facts on a real NATS: followers know when they may have missed one, workers lose none."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

import shared.events
from kalpi_local.servers import Nats
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events import DeliverPolicy, EventBus, Fact, Follower, RejectedFact
from shared.ids import new_id
from shared.subjects import DEAD_LETTER_STREAM
from tests.support.poll import until


class Room:
    """A stream of this test's own, and what is heard of it."""

    def __init__(self) -> None:
        name = new_id().hex
        self.stream = f"T{name}"
        self.subjects = f"t{name}.*"
        self.durable = f"worker-{name}"
        self.heard: list[int] = []
        self.gaps = 0

    def subject(self, name: str) -> str:
        return self.subjects.replace("*", name)

    async def declare(self, bus: EventBus) -> None:
        await bus.declare(self.stream, [self.subjects], max_age_s=3600, max_bytes=1 << 20)

    async def tell(self, bus: EventBus, number: int, name: str = "a") -> Fact:
        return await bus.publish(self.subject(name), {"number": number})

    def follow(self, bus: EventBus, deliver: DeliverPolicy = DeliverPolicy.NEW) -> Follower:
        return bus.follow(self.stream, [self.subjects], self.hear, on_gap=self.forget, deliver=deliver)

    async def hear(self, fact: Fact) -> None:
        self.heard.append(fact.data["number"])

    async def forget(self) -> None:
        self.gaps += 1

    async def until_heard(self, *numbers: int) -> None:
        async def all_heard() -> bool:
            return sorted(self.heard) == sorted(numbers)

        await until(all_heard, what=f"heard {numbers}")

    async def until_last(self, number: int) -> None:
        """Whatever came before, or came again."""

        async def is_last() -> bool:
            return self.heard[-1:] == [number]

        await until(is_last, what=f"heard {number}")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[EventBus]:
    async with EventBus(url, service="test", clock=system_clock, new_id=new_id) as bus:
        yield bus


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[EventBus]:
    async with connected(nats_url) as bus:
        yield bus


@pytest.fixture
async def room(bus: EventBus) -> Room:
    room = Room()
    await room.declare(bus)
    return room


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nats]:
    """A NATS server that a test may kill."""
    server = Nats(tmp_path / "nats", "secret", durable=False)
    await server.start()
    yield server
    await server.stop()


async def kill(server: Nats) -> None:
    assert server._child is not None
    os.kill(server._child.identity.pid, signal.SIGKILL)
    await server._child.wait()


async def until_current(follower: Follower, *, current: bool = True) -> None:
    async def looked() -> bool:
        return follower.current is current

    await until(looked, what=f"current is {current}")


async def never_current_until_forgotten(follower: Follower, room: Room, gaps: int) -> None:
    """Looks at every turn of the event loop."""
    async with asyncio.timeout(15):
        while room.gaps < gaps:
            assert not follower.current
            await asyncio.sleep(0)


# ----- publishing


async def test_a_fact_arrives_as_it_was_told(bus: EventBus, room: Room) -> None:
    facts: list[Fact] = []

    async def keep(fact: Fact) -> None:
        facts.append(fact)

    follower = bus.follow(room.stream, [room.subjects], keep, on_gap=room.forget)
    await until_current(follower)
    told = await room.tell(bus, 7)

    async def arrived() -> bool:
        return facts == [told]

    await until(arrived)
    assert (told.type, told.version, told.data) == (room.subject("a"), 1, {"number": 7})


async def test_one_id_told_twice_is_one_fact(bus: EventBus, room: Room) -> None:
    first = await room.tell(bus, 1)
    await bus.publish(first.type, first.data, fact_id=first.id)
    assert (await bus.jetstream.stream_info(room.stream)).state.messages == 1


async def test_a_fact_that_no_stream_takes_is_unavailable(bus: EventBus) -> None:
    with pytest.raises(Unavailable, match="could not be published"):
        await Room().tell(bus, 1)


async def test_without_nats_telling_is_unavailable_and_health_says_so(server: Nats) -> None:
    async with connected(server.url) as bus:
        room = Room()
        await room.declare(bus)
        await bus.check()
        await kill(server)
        with pytest.raises(Unavailable, match="could not be published"):
            await room.tell(bus, 1)
        assert not bus.connected


# ----- followers


async def test_a_follower_hears_every_fact_in_order_while_it_lives(bus: EventBus, room: Room) -> None:
    await room.tell(bus, 0)
    follower = room.follow(bus)
    await until_current(follower)
    for number in range(1, 201):
        await room.tell(bus, number)
    await room.until_heard(*range(1, 201))
    assert room.heard == list(range(1, 201))
    assert room.gaps == 1, "once, at the start"


async def test_two_followers_hear_the_same(bus: EventBus, room: Room, nats_url: str) -> None:
    other = Room()
    async with connected(nats_url) as second:
        await until_current(room.follow(bus))
        heard = second.follow(room.stream, [room.subjects], other.hear, on_gap=other.forget)
        await until_current(heard)
        await room.tell(bus, 1)
        await room.until_heard(1)
        await other.until_heard(1)


async def test_the_newest_fact_of_each_subject_is_replayed_to_who_asks_for_it(bus: EventBus, room: Room) -> None:
    for number, name in enumerate("aabac"):
        await room.tell(bus, number, name)
    await until_current(room.follow(bus, DeliverPolicy.LAST_PER_SUBJECT))
    assert sorted(room.heard) == [2, 3, 4]


async def test_a_follower_is_not_current_before_it_has_handled_what_is_replayed(bus: EventBus, room: Room) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slowly(fact: Fact) -> None:
        entered.set()
        await release.wait()
        await room.hear(fact)

    await room.tell(bus, 1)
    follower = bus.follow(room.stream, [room.subjects], slowly, on_gap=room.forget, deliver=DeliverPolicy.LAST_PER_SUBJECT)
    assert not follower.current
    await entered.wait()
    assert (room.gaps, follower.current) == (1, False)
    release.set()
    await until_current(follower)
    assert room.heard == [1]


async def test_a_follower_of_a_stream_that_is_not_there_yet_waits_for_it(bus: EventBus) -> None:
    room = Room()
    follower = room.follow(bus, DeliverPolicy.LAST_PER_SUBJECT)
    await room.declare(bus)
    await room.tell(bus, 1)
    await room.until_heard(1)
    await until_current(follower)


async def test_a_follower_whose_handler_failed_is_not_current_until_it_has_forgotten(bus: EventBus, room: Room) -> None:
    failed = asyncio.Event()

    async def fail_once(fact: Fact) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a handler's own fault")
        await room.hear(fact)

    follower = bus.follow(room.stream, [room.subjects], fail_once, on_gap=room.forget)
    await until_current(follower)
    await room.tell(bus, 1)
    await failed.wait()
    await never_current_until_forgotten(follower, room, gaps=2)
    await until_current(follower)
    await room.tell(bus, 2)
    await room.until_heard(2)


async def test_after_a_reconnection_a_follower_forgets_and_hears_the_newest(server: Nats) -> None:
    room = Room()
    async with connected(server.url) as bus:
        await room.declare(bus)
        follower = room.follow(bus, DeliverPolicy.LAST_PER_SUBJECT)
        await room.tell(bus, 1)
        await room.until_heard(1)
        assert room.gaps == 1
        await kill(server)
        await until_current(follower, current=False)
        await server.start()
        async with connected(server.url) as other:
            await room.tell(other, 2)
        await room.until_last(2)
        await until_current(follower)
        assert room.gaps >= 2


async def test_a_reconnected_follower_is_not_current_until_it_has_forgotten(server: Nats) -> None:
    """Connected again is not enough: a fact may have been told meanwhile."""
    room = Room()
    async with connected(server.url) as bus:
        await room.declare(bus)
        follower = room.follow(bus)
        await until_current(follower)
        await kill(server)
        await until_current(follower, current=False)
        await server.start()
        await never_current_until_forgotten(follower, room, gaps=2)
        await until_current(follower)


async def test_a_follower_goes_on_when_its_server_comes_back_with_nothing(server: Nats) -> None:
    room = Room()
    async with connected(server.url) as bus:
        await room.declare(bus)
        follower = room.follow(bus, DeliverPolicy.LAST_PER_SUBJECT)
        await until_current(follower)
        for number in range(5):
            await room.tell(bus, number)
        await room.until_heard(*range(5))
        await kill(server)
        shutil.rmtree(server.folder / "jetstream")
        await server.start()
        async with connected(server.url) as other:
            await room.declare(other)
            await room.tell(other, 5)
        await room.until_last(5)
        await until_current(follower)


async def test_a_follower_goes_on_when_its_stream_was_deleted(bus: EventBus, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds out when its request ends, which is made short here."""
    monkeypatch.setattr(shared.events, "_FETCH_S", 0.2)
    follower = room.follow(bus, DeliverPolicy.LAST_PER_SUBJECT)
    await room.tell(bus, 1)
    await room.until_heard(1)
    await bus.jetstream.delete_stream(room.stream)
    await until_current(follower, current=False)
    await room.declare(bus)
    await room.tell(bus, 2)
    await room.until_heard(1, 2)
    assert room.gaps == 2


# ----- workers


@pytest.fixture
def two_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further delivery waits twice as long as the one before."""
    monkeypatch.setattr(shared.events, "MAX_DELIVERIES", 2)


async def dead_letter(bus: EventBus, room: Room) -> bytes:
    async def letter() -> bytes | None:
        try:
            return (await bus.jetstream.get_last_msg(DEAD_LETTER_STREAM, f"kalpi.dlq.{room.durable}")).data
        except NotFoundError:
            return None

    found = await until(letter, what="a dead letter")
    assert found is not None
    return found


async def until_nothing_is_left(bus: EventBus, room: Room) -> None:
    async def done() -> bool:
        info = await bus.jetstream.consumer_info(room.stream, room.durable)
        return (info.num_pending, info.num_ack_pending) == (0, 0)

    await until(done, what="every fact acknowledged or given up")


async def until_nobody_asks(bus: EventBus, room: Room) -> None:
    """A fact that is handed to a worker while it goes comes again only after half a minute."""

    async def forgotten() -> bool:
        info = await bus.jetstream.consumer_info(room.stream, room.durable)
        return not info.num_waiting

    await until(forgotten, what="the server has seen the worker go")


async def test_a_fact_that_was_handled_does_not_come_again(bus: EventBus, room: Room) -> None:
    bus.work(room.stream, [room.subjects], room.durable, room.hear)
    await room.tell(bus, 1)
    await room.until_heard(1)
    await until_nothing_is_left(bus, room)


async def test_facts_told_while_no_worker_lived_are_handled(bus: EventBus, room: Room, nats_url: str) -> None:
    async with connected(nats_url) as first:
        first.work(room.stream, [room.subjects], room.durable, room.hear)
        await room.tell(bus, 1)
        await room.until_heard(1)
        await until_nothing_is_left(bus, room)
    await until_nobody_asks(bus, room)
    await room.tell(bus, 2)
    bus.work(room.stream, [room.subjects], room.durable, room.hear)
    await room.until_heard(1, 2)


async def test_a_fact_whose_handler_failed_comes_again(bus: EventBus, room: Room) -> None:
    async def fail_once(fact: Fact) -> None:
        await room.hear(fact)
        if len(room.heard) == 1:
            raise RuntimeError("a handler's own fault")

    bus.work(room.stream, [room.subjects], room.durable, fail_once)
    await room.tell(bus, 1)
    await room.until_heard(1, 1)
    await until_nothing_is_left(bus, room)


@pytest.mark.usefixtures("two_deliveries")
async def test_a_fact_whose_handler_always_fails_is_given_up_and_kept_as_a_dead_letter(bus: EventBus, room: Room) -> None:
    async def fail(fact: Fact) -> None:
        await room.hear(fact)
        raise RuntimeError("a handler's own fault")

    bus.work(room.stream, [room.subjects], room.durable, fail)
    told = await room.tell(bus, 1)
    assert Fact.model_validate_json(await dead_letter(bus, room)) == told
    await until_nothing_is_left(bus, room)
    assert room.heard == [1, 1]


async def test_a_rejected_fact_is_a_dead_letter_at_once(bus: EventBus, room: Room) -> None:
    async def reject(fact: Fact) -> None:
        await room.hear(fact)
        raise RejectedFact("it can never be handled")

    bus.work(room.stream, [room.subjects], room.durable, reject)
    told = await room.tell(bus, 1)
    assert Fact.model_validate_json(await dead_letter(bus, room)) == told
    await until_nothing_is_left(bus, room)
    assert room.heard == [1]


async def test_what_is_no_fact_is_a_dead_letter_and_the_next_is_handled(bus: EventBus, room: Room) -> None:
    bus.work(room.stream, [room.subjects], room.durable, room.hear)
    await bus.jetstream.publish(room.subject("a"), b"no fact")
    await room.tell(bus, 1)
    await room.until_heard(1)
    assert await dead_letter(bus, room) == b"no fact"
    await until_nothing_is_left(bus, room)


async def test_two_workers_on_one_durable_share_the_facts(bus: EventBus, room: Room, nats_url: str) -> None:
    other, numbers = Room(), iter(range(1000))
    told: list[int] = []
    async with connected(nats_url) as second:
        bus.work(room.stream, [room.subjects], room.durable, room.hear)
        second.work(room.stream, [room.subjects], room.durable, other.hear)

        async def both_have_worked() -> bool:
            told.append(next(numbers))
            await room.tell(bus, told[-1])
            return bool(room.heard and other.heard)

        async def each_by_one() -> bool:
            return sorted(room.heard + other.heard) == told

        await until(both_have_worked, what="both workers at work")
        await until(each_by_one, what="each fact handled, by one of them")
        await until_nothing_is_left(bus, room)
        assert await each_by_one()


async def test_a_worker_goes_on_after_a_reconnection(server: Nats) -> None:
    room = Room()
    async with connected(server.url) as bus:
        await room.declare(bus)
        bus.work(room.stream, [room.subjects], room.durable, room.hear)
        await room.tell(bus, 1)
        await room.until_heard(1)
        await until_nothing_is_left(bus, room)
        await kill(server)
        await server.start()
        async with connected(server.url) as other:
            await room.tell(other, 2)
        await room.until_last(2)
