"""data-service on a NATS of its own: what it announces stays, and comes back when NATS loses its data."""

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from nats.js.errors import NotFoundError
from pydantic import SecretStr

import shared.events
from data_service.app import NAME, create_app
from data_service.settings import Settings
from kalpi_local.servers import Nats
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events import EventBus, Fact
from shared.ids import new_id
from shared.subjects import (
    BARS_SUBJECTS,
    DEAD_LETTER_STREAM,
    FEED_STREAM,
    FEED_SUBJECTS,
    MARKET_STREAM,
    bars_subject,
    feed_subject,
)
from tests.support.asgi import running
from tests.support.poll import until
from tests.support.principals import Vouched, user


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nats]:
    server = Nats(tmp_path / "nats", "secret", durable=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def bus(server: Nats) -> AsyncIterator[EventBus]:
    """A feed's, which declares nothing."""
    async with EventBus(server.url, service="test", clock=system_clock, new_id=new_id) as bus:
        yield bus


@pytest.fixture
def own_settings(settings: Settings, server: Nats) -> Settings:
    return settings.model_copy(update={"nats_url": SecretStr(server.url)})


@pytest.fixture
async def client(own_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(own_settings), Vouched(user(), NAME)) as client:
        yield client


async def served(client: httpx.AsyncClient) -> dict[str, str]:
    """Each symbol's data version."""
    symbols = [row["symbol"] for row in (await client.get("/api/v1/symbols")).json()["data"]]
    return {symbol: (await client.get(f"/api/v1/symbols/{symbol}")).json()["data_version"] for symbol in symbols}


async def announced(bus: EventBus, symbol: str) -> str | None:
    try:
        message = await bus.jetstream.get_last_msg(MARKET_STREAM, bars_subject(symbol))
    except NotFoundError:
        return None
    return str(Fact.model_validate_json(message.data or b"").data["data_version"])


async def until_announced(bus: EventBus, versions: dict[str, str]) -> None:
    async def all_there() -> bool:
        return {symbol: await announced(bus, symbol) for symbol in versions} == versions

    await until(all_there, what="every version on the stream")


async def restart_with_nothing(server: Nats) -> None:
    await server.stop()
    shutil.rmtree(server.folder / "jetstream")
    await server.start()


async def feed(bus: EventBus, close: float) -> None:
    """A bar of the symbol LIVE, sent until its stream takes it."""
    bar = {"date": "2020-01-02", "open": close, "high": close, "low": close, "close": close, "volume": 1.0}
    data = {"symbol": "LIVE", "interval": "1day", "bar": bar, "final": True}

    async def sent() -> bool:
        try:
            await bus.publish(feed_subject("test"), data)
        except Unavailable:
            return False
        return True

    await until(sent, what="a feed with a stream")


async def until_served(client: httpx.AsyncClient, close: float) -> None:
    async def is_close() -> bool:
        answer = await client.get("/api/v1/bars/LIVE")
        return answer.status_code == 200 and bool(answer.json()["data"][0]["close"] == close)

    await until(is_close, what=f"LIVE at {close}")


async def test_versions_have_no_age_and_bars_of_feeds_have(client: httpx.AsyncClient, bus: EventBus) -> None:
    bars = (await bus.jetstream.stream_info(MARKET_STREAM)).config
    feeds = (await bus.jetstream.stream_info(FEED_STREAM)).config
    assert (bars.subjects, bars.max_age, bars.max_msgs_per_subject) == ([BARS_SUBJECTS], 0, 1)
    assert (feeds.subjects, feeds.max_age, feeds.max_msgs_per_subject) == ([FEED_SUBJECTS], 7 * 86_400, -1)
    assert (feeds.max_bytes or 0) > 0


async def test_after_nats_lost_everything_every_version_is_announced_and_feeds_go_on(
    client: httpx.AsyncClient, server: Nats, bus: EventBus
) -> None:
    await feed(bus, 10.0)
    await until_served(client, 10.0)
    versions = await served(client)
    assert len(versions) == 6
    await until_announced(bus, versions)
    await restart_with_nothing(server)
    await until_announced(bus, versions)
    await feed(bus, 11.0)
    await until_served(client, 11.0)
    after = await served(client)
    assert after["LIVE"] != versions["LIVE"]
    await until_announced(bus, after)
    assert (await client.get("/health")).json()["dependencies"]["nats"] == "ok"


async def test_a_stream_deleted_while_it_runs_is_filled_again_although_no_bar_arrives(
    own_settings: Settings, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.streams, "_LOOK_S", 0.1)
    async with running(create_app(own_settings), Vouched(user(), NAME)) as client:
        versions = await served(client)
        await until_announced(bus, versions)
        await bus.jetstream.delete_stream(MARKET_STREAM)
        await until_announced(bus, versions)


async def test_a_bar_that_finds_its_stream_deleted_is_announced_with_all_others(client: httpx.AsyncClient, bus: EventBus) -> None:
    await until_announced(bus, await served(client))
    await bus.jetstream.delete_stream(MARKET_STREAM)
    await feed(bus, 12.0)
    await until_served(client, 12.0)
    await until_announced(bus, await served(client))


async def test_it_starts_where_one_stream_held_both_kinds_of_subjects(own_settings: Settings, bus: EventBus) -> None:
    """As before there was KALPI_FEED."""
    await bus.streams.declare(MARKET_STREAM, [FEED_SUBJECTS, BARS_SUBJECTS], max_age_s=7 * 86_400, max_bytes=512 << 20)

    async def nothing(_fact: Fact) -> None:
        return

    bus.work(MARKET_STREAM, [FEED_SUBJECTS], "data-service-feed", nothing)
    await feed(bus, 9.0)
    async with running(create_app(own_settings), Vouched(user(), NAME)) as client:
        await feed(bus, 10.0)
        await until_served(client, 10.0)
        await until_announced(bus, await served(client))


async def test_a_bar_waits_while_its_disk_is_gone_and_is_no_dead_letter(
    own_settings: Settings, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More often than it would be delivered."""
    monkeypatch.setattr(shared.events, "MAX_DELIVERIES", 2)
    monkeypatch.setattr(shared.events, "_RETRY_S", 0.05)
    async with running(create_app(own_settings), Vouched(user(), NAME)) as client:
        await feed(bus, 10.0)
        await until_served(client, 10.0)
        rows = own_settings.state_dir / "rows"
        rows.rename(rows.with_name("elsewhere"))
        await feed(bus, 11.0)

        async def tried_often() -> bool:
            told = (await client.get("/metrics")).text
            waited = re.search(r'kalpi_data_feed_bars_total\{outcome="waiting"\} (\S+)', told)
            return waited is not None and float(waited[1]) > 5

        await until(tried_often, what="a bar that waits")
        rows.with_name("elsewhere").rename(rows)
        await until_served(client, 11.0)
    with pytest.raises(NotFoundError):
        await bus.jetstream.stream_info(DEAD_LETTER_STREAM)
