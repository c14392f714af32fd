"""The API as an administrator's commands ask it: with KALPI_URL and KALPI_ADMIN_KEY, and nothing else of this machine."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer

__all__ = ["AsJson", "Most", "Remote", "Row", "as_columns", "connect", "show", "user_id_of", "user_of"]

Row = Mapping[str, Any]
_FAILED = 1
_TIMEOUT_S = 10.0
_PAGE = 100
# an error may repeat what was sent; the key never is
_NOBODYS_WORDS = "the answer is none of this API's"

AsJson = Annotated[bool, typer.Option("--json", help="a JSON document a line, instead of a table")]
Most = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="rows at most")]


class Remote:
    """Whatever goes wrong ends the command with status 1 and one line."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's document, or None when it has none."""
        return _told(self._answer(method, path, body, query))

    def find(self, path: str) -> Any:
        """The document of what is there, None for what is not."""
        answer = self._answer("GET", path, None, {})
        return _told(answer) if answer.status_code != httpx.codes.NOT_FOUND else None

    def _answer(self, method: str, path: str, body: Any, query: Row) -> httpx.Response:
        given = {name: value for name, value in query.items() if value is not None}
        try:
            return self._client.request(method, f"/api/v1/admin/{path}", json=body, params=given)
        except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise _failed(f"{self._client.base_url} does not answer ({type(error).__name__})") from None

    def rows(self, path: str, most: int, **query: Any) -> Iterable[Row]:
        """Of as many pages as that takes."""
        return islice(self._pages(path, min(most, _PAGE), query), most)

    def _pages(self, path: str, limit: int, query: Row) -> Iterable[Row]:
        cursor = None
        while True:
            page = self.ask("GET", path, limit=limit, cursor=cursor, **query)
            yield from page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return


def connect(
    context: typer.Context,
    url: Annotated[str, typer.Option(envvar="KALPI_URL", help="the gateway")] = "http://127.0.0.1:8080",
    key: Annotated[str, typer.Option(envvar="KALPI_ADMIN_KEY", show_default=False, help="an administrator's API key")] = "",
) -> None:
    """The callback of each group of commands that asks the API."""
    if not key.isascii() or not key.isprintable():
        raise _failed("KALPI_ADMIN_KEY is not a key")
    client = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=_TIMEOUT_S, trust_env=False)
    context.obj = Remote(context.with_resource(client))


def user_id_of(remote: Remote, user: str) -> str:
    """By id, or by user name in any case of its letters."""
    return user if _is_id(user) else str(user_of(remote, user)["id"])


def user_of(remote: Remote, name: str) -> Row:
    """By user name, in any case of its letters."""
    for row in remote.rows("users", _PAGE, q=name):
        if row["username"].casefold() == name.casefold():
            return row
    raise _failed("no such user")


def show(rows: Iterable[Row], columns: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            sys.stdout.write(f"{json.dumps(row, ensure_ascii=False)}\n")
    else:
        sys.stdout.write(as_columns(list(rows), columns))


def as_columns(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Columns as wide as what is in them, under their names."""
    cells = [[name.replace("_", " ") for name in columns], *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(f"{'  '.join(map(str.ljust, line, widths)).rstrip()}\n" for line in cells)


def _cell(value: Any) -> str:
    plain: Callable[[Any], str] = {bool: lambda yes: "yes" if yes else "no", list: ", ".join}.get(type(value), str)
    # what users have named something is not to move a terminal's cursor
    return "".join(letter if letter.isprintable() else "�" for letter in plain(value)) if value is not None else "-"


def _told(answer: httpx.Response) -> Any:
    document = _document(answer)
    if answer.is_success:
        return document
    raise _failed(_words(document, answer.status_code))


def _document(answer: httpx.Response) -> Any:
    try:
        return answer.json() if answer.content else None
    except ValueError:
        raise _failed(f"{_NOBODYS_WORDS} (status {answer.status_code})") from None


def _words(document: Any, status: int) -> str:
    if not isinstance(document, dict):
        return f"{_NOBODYS_WORDS} (status {status})"
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in document.get("errors", ())]
    return "; ".join(faults) or str(document.get("detail", status))


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _failed(why: str) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(_FAILED)
