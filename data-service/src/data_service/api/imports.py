"""The route that takes bars in files: `POST /data/import`, for administrators."""

import asyncio
import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from starlette.datastructures import FormData, UploadFile
from starlette.types import Message, Receive

from data_service.adapters.calendars import calendar_of
from data_service.adapters.uploads import Source, read_upload
from data_service.domain.bars import Listing
from data_service.domain.errors import UnknownExchange
from data_service.domain.importing import COLUMNS, Terms, Upload
from data_service.domain.intervals import StoredInterval
from data_service.domain.merging import Report, store
from data_service.domain.placing import StoredBars
from data_service.domain.ports import BarWriter
from shared.clock import Clock
from shared.errors import Conflict, InvalidInput, TooLarge, Unavailable
from shared.guard import require_role, require_scope
from shared.scopes import ADMIN

__all__ = ["MOST_BYTES", "import_router"]

MOST_BYTES = 256 << 20
_MOST_FILES = 1_000
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "CSV or Parquet"},
                    "mapping": {"type": "string", "description": "as in the query, like each of the others"},
                    "interval": {"type": "string"},
                    "exchange": {"type": "string"},
                    "currency": {"type": "string"},
                    "calendar": {"type": "string"},
                    "dry_run": {"type": "boolean"},
                },
            }
        }
    },
}


class ImportOptions(BaseModel):
    """Each in the query or in the form."""

    model_config = ConfigDict(extra="forbid")
    mapping: Annotated[
        str | None,
        Field(
            max_length=65_536,
            description="a JSON object: what the file's columns are, null for one to leave out",
            examples=['{"ticker": "symbol", "px_close": "close", "exchange": null}'],
        ),
    ] = None
    interval: Annotated[StoredInterval, Field(description="of the bars; those of less than a day bear their beginning")] = "1day"
    exchange: Annotated[
        str | None,
        Field(max_length=32, description="where the symbols are listed, mostly a MIC; `24/7` never closes", examples=["XNAS"]),
    ] = None
    currency: Annotated[str | None, Field(pattern="^[A-Z]{3}$", description="of the prices (ISO 4217)", examples=["USD"])] = None
    calendar: Annotated[
        Literal["check", "ignore"],
        Field(description="whether a bar outside the exchange's sessions, or a session missing, is a fault"),
    ] = "check"
    dry_run: Annotated[bool, Field(description="check everything, change nothing")] = False

    @field_validator("exchange")
    @classmethod
    def _is_known(cls, exchange: str | None) -> str | None:
        try:
            calendar_of(exchange)
        except UnknownExchange as error:
            raise ValueError(error.detail) from None
        return exchange

    @property
    def terms(self) -> Terms:
        return Terms(self.interval, Listing(self.exchange, self.currency), check_calendar=self.calendar == "check")


_MAPPING: TypeAdapter[dict[str, str | None]] = TypeAdapter(dict[str, str | None])


class ChangedSymbol(BaseModel):
    """`rows` and the dates are of all its bars after the import; `rows` of its finest interval."""

    symbol: str
    added: int
    corrected: int
    rows: int
    first_date: date
    last_date: date
    data_version: str


class ImportAnswer(BaseModel):
    """`symbols` and `rows` were sent; `changed` are those whose bars are, or with `dry_run` would be, others than before."""

    symbols: int
    rows: int
    changed: list[ChangedSymbol]
    dry_run: bool


def import_router(most_bytes: int = MOST_BYTES) -> APIRouter:
    """`most_bytes` bounds a request's body. The app's state has the `writer` and the `clock`."""
    router = APIRouter(prefix="/api/v1", tags=["market data"])
    busy = threading.Lock()

    @router.post(
        "/data/import",
        summary="Import bars from files",
        response_model=ImportAnswer,
        dependencies=[require_role("admin"), require_scope(ADMIN)],
        openapi_extra={"requestBody": _BODY},
    )
    async def import_bars(request: Request, query: Annotated[ImportOptions, Query()]) -> ImportAnswer:
        """Takes every row of every file, or refuses all of them and names each fault. A row of a known symbol and date replaces
        it. Without an `adj_close` the stored adjustment goes on; with it, splits are found where it jumps. Columns `split` (new
        shares for one old) and `dividend` (for each new share) say what happened on a day, and adj_close follows from them; empty
        and 0 are none.

        Bars of less than a day bear their beginning, with an offset from UTC or else by the clock of their exchange. Where the
        exchange is known, here or from before, a bar outside its sessions and a session that is missing are faults too;
        `calendar=ignore` takes them."""
        with _full_disk_named():
            async with _bounded(request, most_bytes).form(max_files=_MOST_FILES, max_fields=16) as form:
                files, options = _parts(form, query)
                mapping = _mapping(options.mapping, "query" if query.mapping is not None else "body")
                with _one_at_a_time(busy):
                    # to its end also when the caller has gone: what is being read is closed after it
                    work = asyncio.create_task(asyncio.to_thread(_import, request.app.state, files, mapping, options))
                    try:
                        report = await asyncio.shield(work)
                    except asyncio.CancelledError:
                        await asyncio.wait([work])
                        raise
        return _answer(report)

    return router


def _import(state: Any, files: list[Source], mapping: dict[str, str | None], options: ImportOptions) -> Report:
    writer: BarWriter = state.writer
    clock: Clock = state.clock
    known = StoredBars(writer.snapshot(), calendar_of, options.exchange)
    return store(read_upload(files, mapping, Upload(clock(), known, options.terms)), writer, dry_run=options.dry_run)


@contextmanager
def _one_at_a_time(busy: threading.Lock) -> Iterator[None]:
    if not busy.acquire(blocking=False):
        raise Conflict("another import is running")
    try:
        yield
    finally:
        busy.release()


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise Unavailable("there is no space left to import this; nothing was changed", 60) from error


def _bounded(request: Request, most: int) -> Request:
    """The request whose body is `TooLarge` beyond `most` bytes, by what it says of itself or by what comes."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most:
        raise TooLarge(f"longer than {most:,} bytes")
    return Request(request.scope, _counted(request.receive, most))


def _counted(receive: Receive, most: int) -> Receive:
    left = most

    async def counting() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput.field("body", msg="it ended too early")
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLarge(f"longer than {most:,} bytes")
        return message

    return counting


def _parts(form: FormData, query: ImportOptions) -> tuple[list[Source], ImportOptions]:
    files: list[Source] = []
    fields: dict[str, str] = {}
    errors: list[dict[str, Any]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name == "file":
            files.append(Source(_file_name(value.filename), value.file))
        elif isinstance(value, UploadFile) or name == "file":
            errors.append(_error(name, "the files are in `file`, and are sent as files", "value_error"))
        elif name in fields or name in query.model_fields_set:
            errors.append(_error(name, "given twice", "value_error"))
        else:
            fields[name] = value
    if not files:
        errors.append(_error("file", "Field required", "missing"))
    options = query
    try:
        options = ImportOptions.model_validate({**query.model_dump(exclude_unset=True), **fields})
    except ValidationError as error:
        errors += [_error(str(fault["loc"][0]), fault["msg"], fault["type"]) for fault in error.errors()]
    if errors:
        raise InvalidInput(f"unfit: {', '.join('.'.join(error['loc']) for error in errors)}"[:500], errors)
    return files, options


def _error(name: str, msg: str, type_: str) -> dict[str, Any]:
    return {"loc": ["body", name[:64]], "msg": msg, "type": type_}


def _file_name(name: str | None) -> str:
    """As a fault may repeat it: without folders, printable, and short."""
    last = PurePath((name or "").replace("\\", "/")).name
    return "".join(letter if letter.isprintable() else "?" for letter in last)[:100] or "file"


def _mapping(text: str | None, place: str) -> dict[str, str | None]:
    if text is None:
        return {}
    try:
        mapping = _MAPPING.validate_json(text)
    except ValidationError:
        raise InvalidInput.field(place, "mapping", msg="not a JSON object of column names") from None
    if unknown := sorted({column for column in mapping.values() if column is not None and column not in COLUMNS}):
        raise InvalidInput.field(
            place, "mapping", msg=f"no columns of bars: {', '.join(unknown)[:200]}; they are {', '.join(COLUMNS)}"
        )
    return mapping


def _answer(report: Report) -> ImportAnswer:
    changed = [
        ChangedSymbol(
            symbol=change.after.symbol,
            added=change.added,
            corrected=change.corrected,
            rows=change.after.rows,
            first_date=change.after.first_day,
            last_date=change.after.last_day,
            data_version=change.after.data_version,
        )
        for change in report.changed
    ]
    return ImportAnswer(symbols=report.symbols, rows=report.rows, changed=changed, dry_run=report.dry_run)
