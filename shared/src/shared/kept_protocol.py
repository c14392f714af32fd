"""How long a connection of the server is kept that nobody uses: uvicorn's protocol with one timer for all its requests."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["KeptProtocol"]


class KeptProtocol(HttpToolsProtocol):
    """The timer goes on while the connection is used, and looks at its end whether it was: at `_active_at`, on the loop's clock.

    uvicorn stops it at each request and starts another one, for a tenth of what a hit takes.
    """

    _active_at = 0.0

    def on_response_complete(self) -> None:
        if self.pipeline or self.timeout_keep_alive_task is None:
            self._stop_idle_timer()
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self._active_at = self.loop.time()
            self.flow.resume_reading()

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn's way to say that something has come, or is done."""

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._is_answering():
            return  # the end of its answer starts it again
        left_s = self._active_at + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._start_idle_timer(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _is_answering(self) -> bool:
        newest: Any = self.cycle  # None before the first request, which uvicorn's annotation leaves out
        return newest is not None and not newest.response_complete

    def _start_idle_timer(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _stop_idle_timer(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
