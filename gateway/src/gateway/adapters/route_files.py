"""The route file: the operator's or the one that ships, in force at the start and again when it changes, and never half of it."""

import asyncio
from importlib.resources import files
from pathlib import Path

from gateway.domain.route_file import RouteFileError, parse_routes
from gateway.domain.routing import RouteTable
from shared.logging import get_logger
from shared.metrics import Metrics

__all__ = ["RouteFile", "shipped_routes"]

_log = get_logger("routes")


def shipped_routes() -> str:
    return (files("gateway") / "routes.yaml").read_text("utf-8")


class RouteFile:
    """`table` is what is in force. RouteFileError, or OSError, for a file that is unfit from the first."""

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        self._path = path
        self._seen = shipped_routes() if path is None else path.read_text("utf-8")
        self.table = RouteTable(parse_routes(self._seen))
        self._read = metrics.counter(
            "kalpi_gateway_route_files", "Changed route files: in force, or refused, while the old one stays", ("outcome",)
        )

    async def keep_looking(self, every_s: float) -> None:
        """Returns at once where the file is the one that ships."""
        while self._path is not None:
            await asyncio.sleep(every_s)
            self.look_again()

    def look_again(self) -> None:
        try:
            text = self._path.read_text("utf-8") if self._path is not None else self._seen
        except (OSError, UnicodeDecodeError) as error:
            fault = f"it cannot be read ({type(error).__name__})"
            self._refuse(fault, [fault])
            return
        if text == self._seen:
            return
        try:
            routes = parse_routes(text)
        except RouteFileError as error:
            self._refuse(text, error.faults)
            return
        self._seen = text
        self.table.take(routes)
        self._read.labels("in force").inc()
        _log.info("routes in force", routes=len(routes))

    def _refuse(self, seen: str, faults: list[str]) -> None:
        """Said once, not at every look."""
        if seen == self._seen:
            return
        self._seen = seen
        self._read.labels("refused").inc()
        _log.error("the route file is unfit; the routes in force stay", faults=faults)
