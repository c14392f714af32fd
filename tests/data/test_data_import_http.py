"""Importing over HTTP: for administrators, bounded, one at a time, and refused whole with every fault in the problem."""

import asyncio
import datetime as dt
import errno
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import polars as pl
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Message

from data_service.api.imports import ImportOptions, import_router
from data_service.domain.bars import Bars
from data_service.domain.importing import MOST_LISTED
from data_service.domain.ports import IndexedSnapshot
from shared.service import Shell, service_app
from shared.settings import ServiceSettings
from tests.data.memory import MemoryWriter as Memory
from tests.data.test_data_import import GOOD, NOW, csv, frame_of, parquet, sample
from tests.support.asgi import running
from tests.support.principals import PRINCIPAL_KEYS, Vouched, headers_for, user

NAME = "data-service"
PATH = "/api/v1/data/import"
MOST = 1 << 20


def app_with(writer: Memory) -> FastAPI:
    shell = Shell.of(NAME, ServiceSettings(port=0, principal_keys=SecretStr(PRINCIPAL_KEYS)))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.writer, app.state.clock = writer, lambda: NOW
        yield

    return service_app(shell, lifespan=lifespan, routers=[import_router(MOST)], checks={})


@pytest.fixture
def writer() -> Memory:
    return Memory(sample())


@pytest.fixture
async def client(writer: Memory) -> AsyncIterator[httpx.AsyncClient]:
    """As an administrator."""
    async with running(app_with(writer), Vouched(user(roles=("admin",)), NAME)) as client:
        yield client


async def test_a_parquet_file_that_takes_too_much_memory_is_a_422_that_says_so(
    client: httpx.AsyncClient, writer: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_service.adapters.parquet_apart.memory_bound", lambda: 100 << 20)
    answer = await client.post(PATH, files=sent(parquet(frame_of(sample()[:1]))))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["msg"] == "damaged, or not to be read within 50 MiB of memory"
    assert writer.commits == 0


def sent(*files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"bars{number}.csv", data)) for number, data in enumerate(files, 1)]


async def test_an_import_says_what_it_changed(client: httpx.AsyncClient, writer: Memory) -> None:
    answer = await client.post(PATH, files=sent(csv(GOOD), parquet(frame_of(sample()[:1]))))
    assert answer.status_code == 200
    assert answer.json() == {
        "symbols": 2,
        "rows": 3271,
        "dry_run": False,
        "changed": [
            {
                "symbol": "IBM",
                "added": 1,
                "corrected": 0,
                "rows": len(writer.bars["IBM"]),
                "first_date": "2000-03-01",
                "last_date": "2013-03-04",
                "data_version": writer.bars["IBM"].data_version,
            }
        ],
    }


@pytest.mark.parametrize("query", [True, False])
async def test_options_are_taken_from_the_query_or_the_form(client: httpx.AsyncClient, writer: Memory, query: bool) -> None:
    before = writer.versions()
    options = {"mapping": '{"last": "close", "venue": null}', "dry_run": "true"}
    file = sent(csv(f"{GOOD},X", header="symbol,date,open,high,low,last,volume,venue"))
    answer = await client.post(PATH, params=options, files=file) if query else await client.post(PATH, data=options, files=file)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["dry_run"], len(answer.json()["changed"])) == (True, 1)
    assert writer.versions() == before


PRICES = ("open", "high", "low", "close")
OF_NUMBERS: list[Any] = [
    pl.Int8,
    pl.Int16,
    pl.Int32,
    pl.Int64,
    pl.UInt8,
    pl.UInt16,
    pl.UInt32,
    pl.UInt64,
    pl.Float32,
    pl.Decimal(9, 2),
    pl.String,
]
NO_NUMBERS: list[pl.Series] = [
    pl.Series([dt.date(2013, 3, 4)]),
    pl.Series([dt.datetime(2013, 3, 4, tzinfo=dt.UTC)]),
    pl.Series([dt.time(9, 30)]),
    pl.Series([dt.timedelta(days=1)]),
    pl.Series([True]),
    pl.Series([b"11"]),
    pl.Series([[11.0]]),
    pl.Series([{"price": 11.0}]),
    pl.Series(["eleven"], dtype=pl.Categorical),
    pl.Series([None]),
    pl.Series([Decimal(-11)]),
    pl.Series([float("inf")]),
]


def typed(**columns: pl.Series) -> bytes:
    """One bar in Parquet, some of its columns in types of their own."""
    bar: dict[str, Any] = {"symbol": "NEW", "date": dt.date(2013, 3, 4), **dict.fromkeys(PRICES, 11), "volume": 100}
    return parquet(pl.DataFrame({name: columns.get(name, pl.Series([value])) for name, value in bar.items()}))


@pytest.mark.parametrize("type_", OF_NUMBERS, ids=str)
async def test_a_column_of_any_type_of_numbers_is_read_as_its_numbers(
    client: httpx.AsyncClient, writer: Memory, type_: pl.DataType
) -> None:
    columns = {name: pl.Series([100 if name == "volume" else 11]).cast(type_) for name in (*PRICES, "volume")}
    answer = await client.post(PATH, files=sent(typed(**columns)))
    assert answer.status_code == 200, answer.text
    bars = writer.bars["NEW"]
    assert [getattr(bars, name).tolist() for name in (*PRICES, "volume")] == [[11.0]] * 4 + [[100.0]]


@pytest.mark.parametrize("column", [*PRICES, "volume"])
@pytest.mark.parametrize("values", NO_NUMBERS, ids=lambda values: f"{values.dtype} {values[0]}")
async def test_a_column_that_is_none_of_numbers_is_named(
    client: httpx.AsyncClient, writer: Memory, column: str, values: pl.Series
) -> None:
    before = writer.versions()
    answer = await client.post(PATH, files=sent(typed(**{column: values})))
    assert answer.status_code == 422, answer.text
    assert {error["loc"][-1] for error in answer.json()["errors"]} == {column}
    assert writer.versions() == before


async def test_every_fault_is_in_the_problem_and_nothing_changes(client: httpx.AsyncClient, writer: Memory) -> None:
    before = writer.versions()
    bad = csv("IBM,2013-03-05,x,12,9,11,1", "IBM,2013-03-06,10,12,9,11,-1")
    answer = await client.post(PATH, files=sent(csv(GOOD), bad, b"date\n"))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["detail"] == "nothing is imported: 8 faults"
    errors = [(error["loc"], error["msg"], error["type"]) for error in answer.json()["errors"]]
    assert errors[:2] == [
        (["body", "file", "bars2.csv", 2, "open"], "not a number", "value_error"),
        (["body", "file", "bars2.csv", 3, "volume"], "negative", "value_error"),
    ]
    assert errors[2:] == [
        (["body", "file", "bars3.csv", name], "column missing", "missing")
        for name in ("symbol", "open", "high", "low", "close", "volume")
    ]
    assert writer.versions() == before


async def test_a_thousand_faults_are_a_thousand_errors(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, files=sent(csv(*(f"S{number},2013-03-05,x,12,9,11,1" for number in range(1000)))))
    assert [error["loc"][3] for error in answer.json()["errors"]] == list(range(2, 1002))
    many = csv(*(f"S{number},2013-03-05,x,12,9,11,1" for number in range(MOST_LISTED + 1)))
    answer = await client.post(PATH, files=sent(many))
    assert len(answer.json()["errors"]) == MOST_LISTED
    assert answer.json()["detail"] == "nothing is imported: 10,001 faults; the first 10,000 are listed"


async def test_only_administrators_import(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, files=sent(csv(GOOD)), headers=headers_for(user("enterprise"), NAME))
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("params", "data", "loc"),
    [
        ({"mapping": "[1]"}, {}, ["query", "mapping"]),
        ({}, {"mapping": '{"a": "b"}'}, ["body", "mapping"]),
        ({}, {"dry_run": "perhaps"}, ["body", "dry_run"]),
        ({}, {"colour": "red"}, ["body", "colour"]),
        ({"colour": "red"}, {}, ["query", "colour"]),
        ({"dry_run": "1"}, {"dry_run": "1"}, ["body", "dry_run"]),
        ({}, {"file": "text"}, ["body", "file"]),
    ],
)
async def test_unfit_options_are_named(
    client: httpx.AsyncClient, params: dict[str, str], data: dict[str, str], loc: list[str]
) -> None:
    answer = await client.post(PATH, params=params, data=data, files=sent(csv(GOOD)))
    assert (answer.status_code, [error["loc"] for error in answer.json()["errors"]]) == (422, [loc])


async def test_a_request_without_a_file_is_unfit(client: httpx.AsyncClient) -> None:
    for answer in (await client.post(PATH), await client.post(PATH, files={"other": b"x"})):
        assert answer.status_code == 422
        assert ["body", "file"] in [error["loc"] for error in answer.json()["errors"]]


async def test_what_is_no_multipart_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, content=b"x", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_a_body_that_is_too_long_is_refused_by_its_word_or_by_its_bytes(client: httpx.AsyncClient, writer: Memory) -> None:
    before = writer.versions()
    long = csv(GOOD, *[""] * (MOST + 1))
    request = client.build_request("POST", PATH, files=sent(long))
    whole = request.read()
    assert (await client.send(request)).status_code == 413

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), 65_536):
            yield whole[at : at + 65_536]

    answer = await client.post(PATH, content=pieces(), headers={"Content-Type": request.headers["content-type"]})
    assert answer.status_code == 413
    assert writer.versions() == before


async def test_a_caller_who_goes_away_changes_nothing(writer: Memory) -> None:
    before = writer.versions()
    sent_back: list[Message] = []
    headers = {**headers_for(user(roles=("admin",)), NAME), "Content-Type": "multipart/form-data; boundary=b"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": b"--b\r\n", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent_back.append(message)

    app = app_with(writer)
    async with running(app):
        await app(scope, receive, send)
    assert sent_back[0]["status"] == 422
    assert writer.versions() == before


async def test_a_file_is_called_by_its_name_without_folders(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, files=[("file", ("C:\\secret\\../bars\u202eof.csv", b"x"))])
    assert answer.json()["errors"][0]["loc"][2] == "bars?of.csv"


class Slow(Memory):
    """Waits inside a commit until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.go_on = threading.Event(), threading.Event()

    def commit(self, change: Callable[[IndexedSnapshot], Sequence[Bars]]) -> Sequence[Bars]:
        self.inside.set()
        assert self.go_on.wait(30)
        return super().commit(change)


async def test_one_import_runs_at_a_time() -> None:
    writer = Slow()
    async with running(app_with(writer), Vouched(user(roles=("admin",)), NAME)) as client:
        first = asyncio.create_task(client.post(PATH, files=sent(csv(GOOD))))
        assert await asyncio.to_thread(writer.inside.wait, 30)
        assert (await client.post(PATH, files=sent(csv(GOOD)))).status_code == 409
        writer.go_on.set()
        assert (await first).status_code == 200
        assert (await client.post(PATH, files=sent(csv(GOOD)))).status_code == 200


class Full(Memory):
    def commit(self, change: Callable[[IndexedSnapshot], Sequence[Bars]]) -> Sequence[Bars]:
        change(self.bars)
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_no_fault_of_the_file() -> None:
    async with running(app_with(Full()), Vouched(user(roles=("admin",)), NAME)) as client:
        answer = await client.post(PATH, files=sent(csv(GOOD)))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def test_the_document_describes_the_form(writer: Memory) -> None:
    operation = app_with(writer).openapi()["paths"][PATH]["post"]
    assert "file" in operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {parameter["name"] for parameter in operation["parameters"]} == set(ImportOptions.model_fields)
