"""Facts on a real NATS: followers know when they may have missed one, workers lose none."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from structlog.testing import capture_logs

import shared.events
import shared.streams
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

    async def declare(self, bus: EventBus, on_new: Callable[[], Awaitable[None]] | None = None) -> None:
        await bus.streams.declare(self.stream, [self.subjects], max_age_s=3600, max_bytes=1 << 20, on_new=on_new)

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


async def wipe(server: Nats) -> None:
    """For a server that does not run."""
    await asyncio.to_thread(shutil.rmtree, server.folder / "jetstream")


async def until_well(bus: EventBus) -> None:
    async def well() -> bool:
        try:
            await bus.check()
        except NatsError:
            return False
        return True

    await until(well, what="NATS with every stream")


async def until_told(bus: EventBus, room: Room, number: int) -> None:
    async def told() -> bool:
        try:
            await room.tell(bus, number)
        except Unavailable:
            return False
        return True

    await until(told, what=f"{number} taken by the stream")


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
        await wipe(server)
        await server.start()
        async with connected(server.url) as other:
            await room.declare(other)
            await room.tell(other, 5)
        await room.until_last(5)
        await until_current(follower)


@pytest.mark.usefixtures("never_looks")
async def test_a_follower_goes_on_when_its_stream_was_deleted(bus: EventBus, room: Room) -> None:
    follower = room.follow(bus, DeliverPolicy.LAST_PER_SUBJECT)
    await room.tell(bus, 1)
    await room.until_heard(1)
    await bus.jetstream.delete_stream(room.stream)
    await until_current(follower, current=False)
    await room.declare(bus)
    await room.tell(bus, 2)
    await room.until_last(2)
    assert room.gaps >= 2


@pytest.mark.usefixtures("never_looks")
async def test_a_follower_is_not_current_from_the_end_of_its_consumer_until_it_has_forgotten(bus: EventBus, room: Room) -> None:
    """Its stream is there again at once, and what was told meanwhile it has missed."""
    follower = room.follow(bus)
    await until_current(follower)
    await bus.jetstream.delete_stream(room.stream)
    assert not follower.current
    await room.tell(bus, 1)
    await never_current_until_forgotten(follower, room, gaps=2)
    await until_current(follower)


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
async def test_a_worker_keeps_a_fact_while_what_it_needs_is_away(
    bus: EventBus, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a delivery is waited for, and more often than a fact would come again."""
    monkeypatch.setattr(shared.events, "_RETRY_S", 0.5)

    async def away_five_times(fact: Fact) -> None:
        await room.hear(fact)
        if len(room.heard) < 6:
            raise Unavailable("away")

    bus.work(room.stream, [room.subjects], room.durable, away_five_times, ack_wait_s=2)
    await room.tell(bus, 1)
    await room.until_heard(*[1] * 6)
    await until_nothing_is_left(bus, room)
    assert room.heard == [1] * 6, "it came once"


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


async def test_a_worker_goes_on_after_a_reconnection(server: Nats, monkeypatch: pytest.MonkeyPatch) -> None:
    # at the end of a request it finds out that nobody answers that one any more
    monkeypatch.setattr(shared.events, "_FETCH_S", 0.5)
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


async def test_a_worker_that_met_an_unexpected_error_says_so_and_goes_on(
    bus: EventBus, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, failed = shared.events._fetch, asyncio.Event()

    async def fail_once(consumer: Any) -> list[Msg]:
        if not failed.is_set():
            failed.set()
            raise ValueError("a mistake of ours")
        return await fetch(consumer)

    monkeypatch.setattr(shared.events, "_fetch", fail_once)
    with capture_logs() as logs:
        bus.work(room.stream, [room.subjects], room.durable, room.hear)
        await failed.wait()
        await room.tell(bus, 1)
        await room.until_heard(1)
    (log,) = [entry for entry in logs if entry["event"] == "worker interrupted"]
    assert (log["log_level"], str(log["exc_info"])) == ("error", "a mistake of ours")


# ----- streams that are lost


class Hook:
    """Counts its calls; the first ones may fail."""

    def __init__(self, *, fails: int = 0) -> None:
        self.calls = 0
        self._fails = fails

    async def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self._fails:
            raise ValueError("a hook's own fault")

    async def until_called(self, times: int) -> None:
        async def called() -> bool:
            return self.calls == times

        await until(called, what=f"the hook called {times} times")


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.streams, "_LOOK_S", 0.1)


@pytest.fixture
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, that is. Requests are short, for at the end of one a worker finds out that its consumer is gone."""
    monkeypatch.setattr(shared.streams, "_LOOK_S", 3600)
    monkeypatch.setattr(shared.events, "_FETCH_S", 0.2)


@pytest.mark.usefixtures("never_looks")
async def test_everyone_goes_on_by_itself_when_nats_comes_back_with_nothing(server: Nats) -> None:
    room, worked = Room(), Room()
    async with connected(server.url) as bus, connected(server.url) as other:
        await room.declare(bus)
        follower = room.follow(other, DeliverPolicy.LAST_PER_SUBJECT)
        other.work(room.stream, [room.subjects], room.durable, worked.hear)
        await room.tell(bus, 1)
        await room.until_heard(1)
        await worked.until_heard(1)
        await kill(server)
        await wipe(server)
        await server.start()
        await until_told(bus, room, 2)
        await room.until_last(2)
        await worked.until_last(2)
        await until_current(follower)
        await bus.check()


@pytest.mark.usefixtures("never_looks")
async def test_a_wiped_nats_gets_its_streams_back_before_anybody_publishes(server: Nats) -> None:
    room = Room()
    async with connected(server.url) as bus:
        await room.declare(bus)
        follower = room.follow(bus)
        await until_current(follower)
        await kill(server)
        await wipe(server)
        await server.start()
        await until_current(follower, current=False)
        await until_current(follower)
        await until_well(bus)


@pytest.mark.usefixtures("never_looks")
async def test_a_stream_that_was_deleted_is_made_again_by_the_next_fact(bus: EventBus, room: Room) -> None:
    worked = Room()
    follower = room.follow(bus, DeliverPolicy.LAST_PER_SUBJECT)
    bus.work(room.stream, [room.subjects], room.durable, worked.hear)
    await room.tell(bus, 1)
    await room.until_heard(1)
    await worked.until_heard(1)
    await bus.jetstream.delete_stream(room.stream)
    with pytest.raises(NotFoundError):
        await bus.check()
    told = await asyncio.gather(*(room.tell(bus, number, f"s{number}") for number in range(2, 10)))
    assert len(told) == 8
    await bus.check()
    await room.until_heard(1, *range(2, 10))
    await worked.until_heard(1, *range(2, 10))
    await until_current(follower)


@pytest.mark.usefixtures("looks_often")
async def test_a_stream_that_was_deleted_is_made_again_also_when_nobody_publishes(bus: EventBus, room: Room) -> None:
    follower = room.follow(bus)
    await until_current(follower)
    await bus.jetstream.delete_stream(room.stream)
    await until_well(bus)
    await until_current(follower)
    await room.tell(bus, 1)
    await room.until_heard(1)


async def test_a_dead_letter_finds_its_stream_again(bus: EventBus, room: Room) -> None:
    async def reject(_fact: Fact) -> None:
        raise RejectedFact("it can never be handled")

    bus.work(room.stream, [room.subjects], room.durable, reject)
    await room.tell(bus, 1)
    await dead_letter(bus, room)
    await until_nothing_is_left(bus, room)
    await bus.jetstream.delete_stream(DEAD_LETTER_STREAM)
    told = await room.tell(bus, 2)
    assert Fact.model_validate_json(await dead_letter(bus, room)) == told


@pytest.mark.usefixtures("looks_often")
async def test_who_declares_is_told_when_the_stream_was_made_again_and_only_then(server: Nats) -> None:
    room, hook = Room(), Hook()
    async with connected(server.url) as bus:
        await room.declare(bus, hook)
        await kill(server)
        await server.start()
        await until_well(bus)
        await room.tell(bus, 1)
        assert hook.calls == 0, "neither at first nor after a mere restart"
        await kill(server)
        await wipe(server)
        await server.start()
        await hook.until_called(1)
        await bus.jetstream.delete_stream(room.stream)
        await hook.until_called(2)


@pytest.mark.usefixtures("looks_often")
async def test_who_declares_is_told_also_when_another_has_made_the_stream_again(bus: EventBus, room: Room, nats_url: str) -> None:
    hook = Hook()
    async with connected(nats_url) as other:
        await room.declare(other, hook)
        await bus.jetstream.delete_stream(room.stream)
        await room.declare(bus)
        await hook.until_called(1)


@pytest.mark.usefixtures("never_looks")
async def test_who_failed_when_told_is_told_again(bus: EventBus) -> None:
    room, hook = Room(), Hook(fails=2)
    await room.declare(bus, hook)
    await bus.jetstream.delete_stream(room.stream)
    await room.tell(bus, 1)
    await hook.until_called(3)


async def test_a_stream_may_keep_one_fact_of_each_subject_for_ever(bus: EventBus) -> None:
    room = Room()
    await bus.streams.declare(room.stream, [room.subjects], max_age_s=0, max_bytes=1 << 20, max_msgs_per_subject=1)
    for number, name in enumerate("aabab"):
        await room.tell(bus, number, name)
    info = await bus.jetstream.stream_info(room.stream)
    assert (info.config.max_age, info.config.max_msgs_per_subject, info.state.messages) == (0, 1, 2)
    await until_current(room.follow(bus, DeliverPolicy.LAST_PER_SUBJECT))
    assert room.heard == [3, 4]
