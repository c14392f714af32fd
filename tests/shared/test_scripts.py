"""Scripts over one connection: in one write, answered in order, and failed at once when there is nobody to answer."""

import asyncio
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvloop
from redis.asyncio import Redis

from kalpi_local.servers import Valkey
from shared.errors import Unavailable
from shared.ids import new_id
from shared.scripts import Part, Script, ScriptConnection, Shared
from shared.store import open_store
from tests.support.poll import until
from tests.support.relay import relaying

ECHO = Script("return {KEYS[1], ARGV[1]}")
COUNT = Script('return redis.call("INCR", KEYS[1])')
COUNT_EACH = Script(
    """
    local answers = {}
    for at = 2, #ARGV do
      answers[#answers + 1] = {redis.call("INCR", KEYS[1]), ARGV[at]}
    end
    return answers
    """
)
WRONG = Script('return redis.call("INCR")')


def at(port: int, url: str, scheme: str = "redis", options: str = "") -> str:
    return f"{scheme}://:{urlsplit(url).password}@127.0.0.1:{port}/0{options}"


async def test_a_thousand_calls_of_one_turn_are_one_write_and_each_has_its_own_answer(redis_url: str) -> None:
    async with relaying(redis_url) as relay, ScriptConnection(at(relay.port, redis_url)) as scripts:
        await scripts.call(ECHO, ["k"], ["0"])
        writes: list[bytes] = []
        assert scripts._link is not None
        assert scripts._link._transport is not None
        scripts._link._transport.write = writes.append  # type: ignore[method-assign, assignment]
        calls = [scripts.call(ECHO, [f"key-{n}"], [n]) for n in range(1000)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (len(writes), writes[0].count(b"EVALSHA")) == (1, 1000)
        del scripts._link._transport.write
        scripts._link._transport.write(writes[0])
        answers = await asyncio.gather(*calls)
    assert answers == [[f"key-{n}".encode(), str(n).encode()] for n in range(1000)]


async def test_a_script_that_the_store_was_made_to_forget_is_sent_again(scripts: ScriptConnection, redis_url: str) -> None:
    async with open_store(redis_url) as redis:
        for _ in range(2):
            assert await scripts.call(ECHO, ["k"], ["v"]) == [b"k", b"v"]
            await redis.script_flush()


def counting(key: str) -> Shared:
    return Shared(COUNT_EACH, Part([key], [key]))


async def test_what_many_ask_in_one_turn_is_one_call_in_the_order_in_which_they_asked(redis_url: str) -> None:
    key = new_id().hex
    async with relaying(redis_url) as relay, ScriptConnection(at(relay.port, redis_url)) as scripts:
        shared = counting(key)
        assert await scripts.join(shared, Part([], ["first"])) == [1, b"first"]
        writes: list[bytes] = []
        assert scripts._link is not None
        assert scripts._link._transport is not None
        scripts._link._transport.write = writes.append  # type: ignore[method-assign, assignment]
        answers = [scripts.join(shared, Part([], [n])) for n in range(150)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (len(writes), writes[0].count(b"EVALSHA")) == (1, 3), "64 at a time"
        del scripts._link._transport.write
        scripts._link._transport.write(writes[0])
        assert await asyncio.gather(*answers) == [[n + 2, str(n).encode()] for n in range(150)]


async def test_a_call_by_itself_keeps_its_place_among_what_is_shared(scripts: ScriptConnection) -> None:
    key = new_id().hex
    shared, part = counting(key), Part([], ["x"])
    calls = [
        scripts.join(shared, part),
        scripts.call(COUNT, [key], []),
        scripts.join(shared, part),
        scripts.join(counting(new_id().hex), part),
        scripts.join(shared, part),
    ]
    assert await asyncio.gather(*calls) == [[1, b"x"], 2, [3, b"x"], [1, b"x"], [4, b"x"]]


async def test_what_is_shared_is_sent_again_whole_when_the_store_was_made_to_forget_it(
    scripts: ScriptConnection, redis_url: str
) -> None:
    shared, part = counting(new_id().hex), Part([], ["x"])
    async with open_store(redis_url) as redis:
        for turn in (0, 1):
            asked = (scripts.join(shared, part) for _ in range(100))
            assert [number for number, _ in await asyncio.gather(*asked)] == list(range(turn * 100 + 1, turn * 100 + 101))
            await redis.script_flush()


async def test_a_mistake_fails_all_who_share_it_and_nobody_else(scripts: ScriptConnection) -> None:
    wrong = Shared(WRONG, Part(["k"], []))
    calls = [scripts.join(wrong, Part([], [])), scripts.join(wrong, Part([], [])), scripts.call(ECHO, ["k"], ["v"])]
    *failed, right = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in failed] == [Unavailable] * 2
    assert right == [b"k", b"v"]


async def test_who_goes_away_takes_nobody_elses_answer(scripts: ScriptConnection) -> None:
    calls = [asyncio.create_task(ask(scripts, n)) for n in range(10)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[1::2] == [str(n).encode() for n in range(1, 10, 2)]


async def ask(scripts: ScriptConnection, n: int) -> bytes:
    answer: list[bytes] = await scripts.call(ECHO, ["k"], [n])
    return answer[1]


async def test_a_script_with_a_mistake_fails_its_own_call_alone(scripts: ScriptConnection) -> None:
    wrong, right = scripts.call(WRONG, ["k"], []), scripts.call(ECHO, ["k"], ["v"])
    with pytest.raises(Unavailable):
        await wrong
    assert await right == [b"k", b"v"]


async def test_a_store_that_is_silent_is_left_at_the_deadline_and_asked_again_once_it_answers(redis_url: str) -> None:
    async with relaying(redis_url) as relay, ScriptConnection(at(relay.port, redis_url), deadline_s=1.0) as scripts:
        assert await scripts.call(ECHO, ["k"], ["v"]) == [b"k", b"v"]
        relay.silent = True
        waiting = [scripts.call(ECHO, ["k"], ["v"]) for _ in range(5)]
        assert [type(answer) for answer in await asyncio.gather(*waiting, return_exceptions=True)] == [Unavailable] * 5
        with pytest.raises(Unavailable):
            scripts.call(ECHO, ["k"], ["v"])
        relay.silent = False
        await until(lambda: connected(scripts), what="the store")
        assert await scripts.call(ECHO, ["k"], ["v"]) == [b"k", b"v"]


async def connected(scripts: ScriptConnection) -> bool:
    return scripts.connected


async def test_what_was_under_way_when_the_connection_was_lost_has_failed_and_is_not_run_twice(
    redis_url: str, redis: Redis
) -> None:
    key = "test:lost-connection"
    await redis.delete(key)
    async with relaying(redis_url) as relay, ScriptConnection(at(relay.port, redis_url)) as scripts:
        relay.silent = True
        waiting = [scripts.call(COUNT, [key], []) for _ in range(5)]

        async def ran() -> bool:
            return await redis.get(key) == b"5"

        await until(ran, what="five calls")
        relay.cut()
        assert [type(answer) for answer in await asyncio.gather(*waiting, return_exceptions=True)] == [Unavailable] * 5
        relay.silent = False
        await until(lambda: connected(scripts), what="another connection")
        assert await scripts.call(COUNT, [key], []) == 6


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_store(redis_url) as redis:
        yield redis


async def test_a_store_killed_and_started_again_is_found(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path / "valkey", "secret", durable=False)
    await valkey.start()
    async with ScriptConnection(valkey.url) as scripts:
        assert await scripts.call(COUNT, ["k"], []) == 1
        await valkey.stop()
        await until(lambda: away(scripts), what="that it is away")
        with pytest.raises(Unavailable):
            scripts.call(COUNT, ["k"], [])
        await valkey.start()
        await until(lambda: connected(scripts), what="the store")
        assert await scripts.call(COUNT, ["k"], []) == 1, "it kept nothing"
    await valkey.stop()


async def away(scripts: ScriptConnection) -> bool:
    return not scripts.connected


async def test_only_so_many_wait(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.scripts._MOST_WAITING", 3)
    async with relaying(redis_url) as relay, ScriptConnection(at(relay.port, redis_url)) as scripts:
        relay.silent = True
        waiting = [scripts.call(ECHO, ["k"], [n]) for n in range(3)]
        with pytest.raises(Unavailable):
            scripts.call(ECHO, ["k"], ["v"])
    assert [type(answer) for answer in await asyncio.gather(*waiting, return_exceptions=True)] == [Unavailable] * 3


@pytest.mark.parametrize("change", ["not-the-password", ""])
async def test_without_the_password_there_is_no_connection(redis_url: str, change: str) -> None:
    url = redis_url.replace(f":{urlsplit(redis_url).password}@", f":{change}@" if change else "")
    async with ScriptConnection(url) as scripts:
        with pytest.raises(Unavailable):
            await scripts.call(ECHO, ["k"], ["v"])


async def test_a_database_by_its_number(redis_url: str) -> None:
    key = "test:database-number"
    other = redis_url.replace("/0", "/3")
    async with ScriptConnection(other) as scripts, open_store(redis_url) as first, open_store(other) as third:
        await third.delete(key)
        assert await scripts.call(COUNT, [key], []) == 1
        assert (await first.get(key), await third.get(key)) == (None, b"1")


async def test_a_unix_socket(redis_url: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "store"
        url = f"unix://:{urlsplit(redis_url).password}@{path}?db=0"
        async with relaying(redis_url, path=path), ScriptConnection(url) as scripts:
            assert await scripts.call(ECHO, ["k"], ["v"]) == [b"k", b"v"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Signed by itself, with its key in the same file."""
    path = tmp_path / "certificate.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run([*new, *named], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


async def test_tls_with_a_certificate_that_is_checked(redis_url: str, certificate: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with relaying(redis_url, tls=tls) as relay:
        known = at(relay.port, redis_url, "rediss", f"?ssl_ca_certs={certificate}")
        async with ScriptConnection(known) as scripts:
            assert await scripts.call(ECHO, ["k"], ["v"]) == [b"k", b"v"]
        async with ScriptConnection(at(relay.port, redis_url, "rediss")) as scripts:
            assert not scripts.connected, "nobody vouches for this one"


def test_it_runs_on_the_loop_that_services_run_on(redis_url: str) -> None:
    async def run() -> list[bytes]:
        async with ScriptConnection(redis_url) as scripts:
            answer: list[bytes] = await scripts.call(ECHO, ["k"], ["v"])
            return answer

    assert uvloop.run(run()) == [b"k", b"v"]
