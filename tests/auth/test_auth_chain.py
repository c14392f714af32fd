"""The audit chain: unbroken however many write, append-only for who may write, and telling of whoever could do more."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from typer.testing import CliRunner

from auth_service.adapters.heads import ExportedHeads
from auth_service.adapters.postgres import PostgresDatabase
from auth_service.cli.admin import app
from auth_service.domain.chain import Link, Sealed, document
from auth_service.domain.heads import HeadKeeper
from auth_service.domain.ports import AuditFilter
from auth_service.domain.relaying import BATCH
from auth_service.domain.trail import Trail
from auth_service.domain.verifying import ChainCheck, Fault
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.postgres import open_engine
from shared.roles import DatabaseUrls
from tests.auth.auth_store import Heads, keeper_of
from tests.auth.auth_world import MovableClock
from tests.auth.test_auth_relay import Publisher, record, relay_of

CONNECTIONS = 20


@pytest.fixture
async def alone(own_database_url: str) -> AsyncIterator[PostgresDatabase]:
    engine = open_engine(own_database_url, service="test", pool_size=CONNECTIONS, command_timeout_s=10)
    async with PostgresDatabase(engine, asyncio.Event()) as database:
        yield database


@pytest.fixture
async def root(own_urls: DatabaseUrls) -> AsyncIterator[asyncpg.Connection]:
    """A superuser whom no trigger and no policy stops."""
    connection = await asyncpg.connect(own_urls.admin)
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


async def whole(database: PostgresDatabase) -> list[Sealed]:
    return [row async for batch in Trail(database.trail).batches(AuditFilter(), after=0) for row in batch]


async def faults(database: PostgresDatabase, heads: Heads | None = None) -> list[Fault]:
    check = ChainCheck(heads.exported if heads else [])
    found = [fault for row in await whole(database) for fault in check.take(row)]
    return [*found, *check.end()]


async def sealed_trail(database: PostgresDatabase, count: int, heads: Heads | None = None) -> None:
    await record(database, count)
    _, last = await relay_of(database, Publisher()).seal()
    await keeper_of(database, heads).keep(last)


async def test_a_hundred_writers_and_several_relays_leave_one_unbroken_chain(alone: PostgresDatabase) -> None:
    publishers = [Publisher() for _ in range(4)]

    connections = asyncio.Semaphore(CONNECTIONS - len(publishers))  # who waited for one in the pool might wait for too long

    async def write(count: int) -> list[UUID]:
        async with connections:
            return await record(alone, count)

    writing = [asyncio.create_task(write(1 + number % 5)) for number in range(100)]

    async def relay(publisher: Publisher) -> None:
        while not all(task.done() for task in writing) or await relay_of(alone, publisher).round():
            await relay_of(alone, publisher).round()

    await asyncio.gather(*writing, *map(relay, publishers))
    written = {id_ for task in writing for id_ in task.result()}
    trail = await whole(alone)
    assert await faults(alone) == []
    assert {row.event.id for row in trail} == written
    assert [row.link.seq for row in trail] == list(range(1, len(written) + 1))
    published = sorted(pair for one in publishers for pair in zip(one.seqs, one.published, strict=True))
    assert published == [(row.link.seq, row.event.id) for row in trail], "each once, whoever published it"


async def test_the_events_of_one_transaction_are_links_in_the_order_of_writing(alone: PostgresDatabase) -> None:
    ids = await record(alone, BATCH + 5)
    relay = relay_of(alone, Publisher())
    counts = [(await relay.seal())[0] for _ in range(3)]
    assert counts == [BATCH, 5, 0]
    assert [row.event.id for row in await whole(alone)] == ids


async def test_the_chain_can_be_verified_by_what_is_documented_alone(alone: PostgresDatabase) -> None:
    """docs/adr/0013, in four lines, on what an export holds."""
    await sealed_trail(alone, 5)
    previous = bytes(32)
    for row in await whole(alone):
        exported = json.loads(json.dumps(document(row)))
        told = exported.pop("hash")
        text = json.dumps(exported, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(previous + text.encode()).digest()
        assert previous.hex() == told


@pytest.mark.parametrize(
    "change",
    [
        "client_ip = '203.0.113.9'",
        "actor = 'somebody else'",
        "occurred_at = occurred_at + interval '1 microsecond'",
        'details = \'{"reason": "another"}\'',
        'after = \'{"tier": "pro"}\'',
        "user_id = NULL",
        "recorded = DEFAULT",
        "hash = decode(repeat('00', 32), 'hex')",
    ],
)
async def test_a_changed_row_is_found(alone: PostgresDatabase, root: asyncpg.Connection, change: str) -> None:
    await sealed_trail(alone, 5)
    await root.execute(f"UPDATE auth.audit_event SET {change} WHERE seq = 3")  # noqa: S608 - a test's own
    assert 3 in {fault.seq for fault in await faults(alone)}


async def test_a_row_deleted_in_the_middle_is_found(alone: PostgresDatabase, root: asyncpg.Connection) -> None:
    await sealed_trail(alone, 5)
    await root.execute("DELETE FROM auth.audit_event WHERE seq IN (3, 4)")
    assert await faults(alone) == [Fault(3, "missing: after 2 comes 5")]
    await root.execute("UPDATE auth.audit_event SET seq = 3 WHERE seq = 5")
    assert [fault.seq for fault in await faults(alone)] == [3], "nor does closing the gap help"


async def test_a_deleted_first_row_is_found(alone: PostgresDatabase, root: asyncpg.Connection) -> None:
    await sealed_trail(alone, 3)
    await root.execute("DELETE FROM auth.audit_event WHERE seq = 1")
    assert [fault.seq for fault in await faults(alone)] == [1]


async def test_a_cut_tail_is_found_by_a_head_signed_before(alone: PostgresDatabase, root: asyncpg.Connection) -> None:
    heads = Heads()
    await sealed_trail(alone, 5, heads)
    assert await faults(alone, heads) == []
    await root.execute("DELETE FROM auth.audit_event WHERE seq > 3")
    assert await faults(alone) == [], "what is left is a chain"
    assert await faults(alone, heads) == [Fault(5, "cut: a head was signed at 5, and the trail ends at 3")]


async def test_a_tail_written_anew_is_found_by_a_head_signed_before(alone: PostgresDatabase, root: asyncpg.Connection) -> None:
    heads = Heads()
    await sealed_trail(alone, 5, heads)
    await root.execute("DELETE FROM auth.audit_event WHERE seq > 3")
    await sealed_trail(alone, 2)
    assert await faults(alone) == []
    assert [fault.seq for fault in await faults(alone, heads)] == [5]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE auth.audit_event SET actor = 'nobody'",
        "UPDATE auth.audit_event SET seq = 9, hash = decode(repeat('00', 32), 'hex') WHERE seq = 1",
        "UPDATE auth.audit_event SET seq = NULL, hash = NULL",
        "UPDATE auth.audit_event SET seq = 9, hash = decode(repeat('00', 32), 'hex'), actor = 'x' WHERE hash IS NULL",
        "DELETE FROM auth.audit_event",
        "TRUNCATE auth.audit_event",
        "UPDATE auth.audit_head SET hash = ''",
        "DELETE FROM auth.audit_head",
        "TRUNCATE auth.audit_head",
    ],
)
async def test_neither_the_app_nor_the_owner_can_change_what_is_written(
    alone: PostgresDatabase, own_urls: DatabaseUrls, statement: str
) -> None:
    await sealed_trail(alone, 2)
    await record(alone, 1)
    before, head = await whole(alone), await alone.trail.head()
    for url in (own_urls.owner, own_urls.admin):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(url, statement)
    # to whom a policy shows no row, an UPDATE is none
    with suppress(asyncpg.InsufficientPrivilegeError):
        await execute(own_urls.app, statement)
    assert (await whole(alone), await alone.trail.head()) == (before, head)


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_head_is_signed_for_so_many_events_or_after_so_long(alone: PostgresDatabase) -> None:
    clock, heads = MovableClock(), Heads()
    keeper, relay = keeper_of(alone, heads, clock, every=3), relay_of(alone, Publisher())

    async def signed_at(count: int) -> list[int]:
        await record(alone, count) if count else None
        _, last = await relay.seal()
        await keeper.keep(last)
        return [head.link.seq for head in heads.exported]

    assert await signed_at(0) == [], "there is nothing to sign for"
    assert await signed_at(1) == [1], "the first at once"
    assert await signed_at(2) == [1]
    assert await signed_at(1) == [1, 4]
    assert await signed_at(1) == [1, 4]
    clock.forward(seconds=60)
    assert await signed_at(0) == [1, 4, 5]
    clock.forward(seconds=600)
    assert await signed_at(0) == [1, 4, 5], "nothing has happened since"
    other = keeper_of(alone, heads, clock, every=3)
    await other.keep((await relay.seal())[1])
    assert len(heads.exported) == 3, "another process has signed it"


async def test_a_head_that_could_not_be_exported_is_signed_again(alone: PostgresDatabase) -> None:
    heads = Heads()
    keeper, relay = keeper_of(alone, heads), relay_of(alone, publisher := Publisher())
    await record(alone, 1)
    heads.error = Unavailable("the disk is full")
    relay._heads = keeper
    with pytest.raises(Unavailable, match="full"):
        await relay.round()
    assert len(publisher.published) == 1, "facts do not wait for it"
    assert await alone.trail.head() is None
    heads.error = None
    await relay.round()
    assert await alone.trail.head() == heads.exported[0]


async def test_a_file_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    head = Heads().sign(Link(1, bytes(32)), system_clock())
    with pytest.raises(Unavailable, match="No such file"):
        await ExportedHeads(tmp_path / "missing" / "heads.jsonl").export(head)


async def test_a_head_stays_true_although_sealing_goes_on(alone: PostgresDatabase) -> None:
    heads = Heads()
    for _ in range(3):
        await sealed_trail(alone, 2, heads)
    assert await faults(alone, heads) == []


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", *arguments])
    return done.exit_code, done.output


async def verified(url: str, *more: str) -> tuple[int, str]:
    return await asyncio.to_thread(run, "verify", "--database-url", url, *more)


async def test_the_command_compares_with_exported_heads(
    alone: PostgresDatabase, root: asyncpg.Connection, own_database_url: str, tmp_path: Path
) -> None:
    heads, path = Heads(), tmp_path / "heads.jsonl"
    await record(alone, 5)
    _, last = await relay_of(alone, Publisher()).seal()
    export = ExportedHeads(path)
    await HeadKeeper(alone, heads, export, system_clock, every=1, after=keeper_of(alone)._after).keep(last)
    assert path.stat().st_mode & 0o777 == 0o600
    key = ("--public-key", heads.signer.public_key)
    code, told = await verified(own_database_url, "--heads", str(path), *key)
    assert (code, told) == (0, "5 events; signed heads: 2, the newest at 5\n"), "one of the table, one of the file"
    code, told = await verified(own_database_url)
    assert code == 0
    assert "would not show" in told
    # who owns the database cuts the end off, and the heads there as well
    await root.execute("DELETE FROM auth.audit_event WHERE seq = 5; DELETE FROM auth.audit_head")
    assert (await verified(own_database_url, *key))[0] == 0
    code, told = await verified(own_database_url, "--heads", str(path), *key)
    assert code == 1
    assert told.startswith("5: cut")


async def test_a_forged_head_is_told_of_and_counts_for_nothing(
    alone: PostgresDatabase, own_database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "heads.jsonl"
    await sealed_trail(alone, 2, forger := Heads())
    await ExportedHeads(path).export(forger.exported[0])
    path.write_text(path.read_text() + "not a head\n")
    code, told = await verified(own_database_url, "--heads", str(path), "--public-key", Heads().signer.public_key)
    assert code == 1
    assert told.count("not a head signed by that key") == 3
    assert "no signed head was compared" in told


@pytest.mark.parametrize(
    "arguments", [["--public-key", "short"], ["--heads", __file__], []], ids=["unfit key", "heads without a key", "nobody there"]
)
async def test_what_cannot_be_checked_has_an_exit_code_of_its_own(arguments: list[str]) -> None:
    nowhere = "postgresql://kalpi:a-password@127.0.0.1:1/nothing"
    code, told = await verified(nowhere, *arguments)
    assert code == 2
    assert "a-password" not in told


async def test_an_event_that_is_not_sealed_cannot_be_given_a_hash_alone(alone: PostgresDatabase, own_urls: DatabaseUrls) -> None:
    await record(alone, 1)
    with pytest.raises(asyncpg.CheckViolationError):
        await execute(own_urls.owner, "UPDATE auth.audit_event SET hash = decode(repeat('00', 32), 'hex')")
