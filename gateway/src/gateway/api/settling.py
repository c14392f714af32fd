"""How a request ends: with its answer, or with what is said in its place; then its line in the log and its record."""

import time
from collections.abc import Awaitable
from datetime import datetime

from gateway.adapters.upstreams import BrokenAnswer
from gateway.api.attending import ClientGone
from gateway.api.exchange import Exchange
from gateway.domain.requests import Recorder
from shared.errors import KalpiError
from shared.logging import get_logger, log_request
from shared.problems import internal_error, problem_response

__all__ = ["Ledger", "settle"]

_GONE = 499
"""In the record of a request whose client went away before its answer; nginx's number for it, sent to nobody."""
_log = get_logger("edge")


async def settle(exchange: Exchange, work: Awaitable[None]) -> None:
    """`work` answers the exchange, or fails, for which a problem is the answer."""
    try:
        await work
    except KalpiError as error:
        problem = problem_response(error, exchange.path)
        await exchange.whole(problem.status_code, problem.raw_headers, bytes(problem.body))
    except ClientGone:
        exchange.status = _GONE
    except BrokenAnswer as error:
        # nothing more can be said to the client: the server closes a connection whose answer was not completed
        _log.warning("answer broken off", path=exchange.path, why=str(error))
    except Exception:  # noqa: BLE001 - the boundary
        # nothing above can answer the client, and the traceback belongs in the log, not in the body
        _log.exception("unhandled error", path=exchange.path)
        if not exchange.started:
            problem = internal_error(exchange.path)
            await exchange.whole(problem.status_code, problem.raw_headers, bytes(problem.body))


class Ledger:
    """A line for each request but for hits, of which there are too many: their record says as much."""

    def __init__(self, record: Recorder, *, log_hits: bool) -> None:
        self._record = record
        self._log_hits = log_hits

    def enter(self, exchange: Exchange, at: datetime, began: float) -> None:
        """One that has ended; `began` is on the clock of `time.perf_counter`."""
        seconds = time.perf_counter() - began
        quiet = exchange.cache == "hit" and exchange.status < 400 and not self._log_hits
        log_request(exchange.verb, exchange.path, exchange.status, seconds, quiet=quiet)
        self._record(exchange.record(at, seconds))
