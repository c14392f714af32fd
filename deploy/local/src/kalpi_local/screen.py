"""What a person sees: short, coloured on a terminal, plain elsewhere."""

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kalpi_local.follow import parsed

__all__ = ["Screen"]

_WIDTH = 18
_COLOURS = {"ready": "green", "starting": "yellow", "restarting": "yellow", "stopped": "red", "warning": "yellow"}
_SHOWN = ("warning", "error", "critical")
_LINES_AT_ONCE = 20
_LEFT_OUT = ("level", "logger", "timestamp", "service", "event", "trace_id", "request_id", "exception")


class _Console(Console):
    """Whoever was reading may go (a closed terminal, `| head`); what runs goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Screen:
    def __init__(self) -> None:
        self._console = _Console(highlight=False, soft_wrap=True)
        self._errors = _Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(escape(text))

    def refuse(self, text: str) -> None:
        self._errors.print(f"[red]{escape(text)}[/]")

    def step(self, name: str, what: str, *, colour: str = "green") -> None:
        self._console.print(f"  [{colour}]{escape(name):<{_WIDTH}}[/] {escape(what)}")

    def table(self, rows: Iterable[Mapping[str, str]]) -> None:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for row in rows:
            if not table.columns:
                for heading in row:
                    table.add_column(heading, no_wrap=True)
            table.add_row(*(f"[{_COLOURS.get(cell, 'default')}]{escape(cell)}[/]" for cell in row.values()))
        self._console.print(table)

    def log(self, name: str, lines: list[str], *, requests: bool) -> None:
        """What matters of a service's new log lines: warnings, errors, what is not JSON, and requests if asked for."""
        shown = [text for line in lines if (text := _short(line, requests=requests))]
        for text in shown[:_LINES_AT_ONCE]:
            self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] [cyan]{name:<{_WIDTH}}[/] {text}")
        if len(shown) > _LINES_AT_ONCE:
            self._console.print(f"[dim]         {name:<{_WIDTH}} … {len(shown) - _LINES_AT_ONCE} more: kalpi logs {name}[/]")

    def processes(self, entries: Mapping[str, Any], now: float) -> None:
        """The table of `kalpi status`."""
        self.table(
            {
                "service": name,
                "state": str(entry.get("state", "")),
                "pid": str(entry.get("pid") or ""),
                "port": str(entry.get("port") or ""),
                "restarts": str(entry.get("restarts", 0)),
                "uptime": str(timedelta(seconds=int(now - entry["since"]))) if entry.get("since") else "",
            }
            for name, entry in entries.items()
        )


def _short(line: str, *, requests: bool) -> str | None:
    entry = parsed(line)
    if entry is None:
        return f"[dim]{escape(line[:200])}[/]"
    event, level = str(entry.get("event", "")), str(entry.get("level", ""))
    if event == "request" and {"method", "path", "status"} <= entry.keys():
        status = int(entry["status"])
        colour = "green" if status < 400 else "yellow" if status < 500 else "red"
        text = f"{entry['method']} {entry['path']} [{colour}]{status}[/] [dim]{entry.get('ms', '?')} ms[/]"
        return text if requests else None
    if level not in _SHOWN:
        return None
    rest = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _LEFT_OUT)
    return f"[{'yellow' if level == 'warning' else 'red'}]{level}[/] {escape(event)} [dim]{escape(rest[:200])}[/]"
