"""A connection of the server: uvicorn on httptools, strict about what it reads, and quick with what is answered at once."""

import asyncio
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from shared.at_once import GONE, WHOLE, AnswerAtOnce, AtOnce, Fields, Send, Soon, lines_of
from shared.context import sane_request_id
from shared.framing import Fault, fault_of
from shared.heads import Head, Heads
from shared.kept_protocol import KeptProtocol
from shared.logging import get_logger
from shared.outbox import Outbox
from shared.promise import Promise
from shared.refusals import refusal

__all__ = ["StrictProtocol"]

MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 * 1024
MAX_AROUND_CHUNKS = 64 * 1024
HEADER_DEADLINE_S = 10.0
TAIL_S = 10.0
"""How long the rest of a body may go on coming that was answered before it had come."""
LINGER_S = 2.0
"""How long a client that was refused may go on sending, unread."""
FIRST_REQUEST_S = 1.0
_AROUND_A_BYTE = 8
"""A chunk of one byte has five or six around it."""
_LONG_HEADER = Fault(431, "header", f"more than {MAX_HEADER_BYTES} bytes of header")
_MANY_FIELDS = Fault(431, "fields", f"more than {MAX_HEADERS} header fields")
_MUCH_AROUND = Fault(400, "chunks", "the body says more of its chunks than is in them")
_NOT_PLAIN = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""Fields of a request that more is to come of."""
_log = get_logger("server")


class StrictProtocol(KeptProtocol):
    """httptools answers 200 to 10,000 headers and to no or two Hosts, and waits for ever for half a header; this does not.

    Bounds: 100 header fields and 64 KiB of them (431, RFC 6585, section 5), a complete header within 10 s (408), what
    `shared.framing` asks of one, 64 KiB around the chunks of a body and eight bytes more for each of its own, 10 s for the rest
    of a body that was answered already. httptools keeps a field until it ends, so bytes are counted as they come. It would put
    fields after a body among those of the header; they are passed over (RFC 9110, section 6.5.1).

    Each refusal, like httptools' own of what is no HTTP, is counted, is a problem and closes the connection: where the next
    request would begin is not known.
    """

    _header_bytes = 0
    _room = MAX_HEADER_BYTES
    _in_message = _in_header = _handed_on = False
    _refused = _answered = False
    _begun = 0
    """Messages in what is being parsed, from its first byte on."""
    _head: Head | None = None
    """The last of them, if it was answered at once."""
    _gone: Callable[[], None] | None = None
    _promise: Promise
    _header_timer: asyncio.TimerHandle | None = None
    _tail_timer: asyncio.TimerHandle | None = None
    _default_headers: Fields | None = None
    _default_lines = b""

    def __init__(self, config: uvicorn.Config, *arguments: Any, **more: Any) -> None:
        super().__init__(config, *arguments, **more)
        state = getattr(config.app, "state", None)
        self._at_once: AnswerAtOnce | None = getattr(state, "at_once", None)
        self._heads: Heads | None = getattr(state, "heads", None)
        self._outbox: Outbox = getattr(self.server_state, "outbox", None) or Outbox()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self._stop_idle_timer()
        self._stop_tail_timer()
        super().connection_lost(exc)
        self._tell_gone()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._active_at = self.loop.time()
        if self._in_message:
            self._room -= len(data)
            super().data_received(data)
        elif self._heads is None:
            super().data_received(data)
        elif not self._answer_again(self._heads, data):
            self._begun, self._head = 0, None
            super().data_received(data)
            self._keep_head(self._heads, data)
        if self._in_message:  # as it is only where a request did not come whole
            self._watch()

    def _keep_head(self, heads: Heads, data: bytes) -> None:
        """Where that was one whole head, and nothing else."""
        head = self._head
        if head is not None and self._begun == 1 and not (self._in_message or self._refused):
            heads.keep(data, head)

    def _answer_again(self, heads: Heads, data: bytes) -> bool:
        """What is one whole head that was answered at once before; the parser stays where it is, between two messages."""
        head = heads.find(data)
        if head is None or self.transport.is_closing() or not self._may_answer_at_once():
            return False
        answer = self._ask(head)
        if answer is None:
            heads.forget(data)
            return False
        if self._header_timer is not None:
            self._stop_header_timer()
        self._give(answer)
        return True

    def _watch(self) -> None:
        """What is still to come after some bytes have: not too much, and not for ever."""
        if self._refused:
            return
        if self._room < 0:
            self._refuse(*(_LONG_HEADER if self._in_header else _MUCH_AROUND))
        elif self._in_header:
            if self._header_timer is None:
                self._start_header_timer()
        elif self._tail_timer is None and not self._is_answering():
            self._tail_timer = self.loop.call_later(TAIL_S, self._end_tail)

    def on_message_begin(self) -> None:
        """Without uvicorn's part of it, a scope, which only what goes the way of ASGI has."""
        self._outbox.send(self.transport)
        self.url = b""
        self.headers = []
        self._header_bytes = 0
        self._room = MAX_HEADER_BYTES
        self._in_message = self._in_header = True
        self._answered = self._handed_on = False
        self._begun += 1
        self._stop_header_timer()

    def on_url(self, url: bytes) -> None:
        self._header_bytes += len(url)
        self.url += url
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(*_LONG_HEADER)

    def on_header(self, name: bytes, value: bytes) -> None:
        """All of uvicorn's but `Expect`, in one call: it is the most frequent one."""
        self._header_bytes += len(name) + len(value) + 4
        headers = self.headers
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(*_LONG_HEADER)
        elif not self._in_header:
            return
        elif len(headers) >= MAX_HEADERS:
            self._refuse(*_MANY_FIELDS)
        else:
            headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._room = MAX_AROUND_CHUNKS
        self._stop_header_timer()
        if self._refused:
            return
        parser = self.parser
        method, version, upgrades = parser.get_method(), parser.get_http_version(), parser.should_upgrade()
        fault = fault_of(method, version, self.url, self.headers, upgrades=upgrades)
        if fault is not None:
            self._refuse(*fault)
            return
        if method == b"GET" and version == "1.1" and self._answer_at_once():
            return
        self._go_on()
        if upgrades or self.stopping:
            # whatever comes with an upgrade is not looked at; what comes after a stop goes to a process that stays
            self._close_after_answer()

    def on_body(self, body: bytes) -> None:
        self._room += _AROUND_A_BYTE * len(body)
        super().on_body(body)

    def _go_on(self) -> None:
        """The way of ASGI, with uvicorn's part of `on_message_begin` that was left out."""
        self._handed_on = True
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.expect_100_continue = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        super().on_headers_complete()
        self.scope["extensions"] = {WHOLE: {"answer": self._answer_whole}, GONE: {"call": self.call_when_gone}}

    def call_when_gone(self, gone: Callable[[], None] | None) -> bool:
        self._gone = gone
        is_there = not (self._refused or self.transport.is_closing())
        if gone is not None and is_there and not self.pipeline:
            self.flow.resume_reading()  # the last of a long body has stopped it, and who goes would not be noticed
        return is_there

    def _tell_gone(self) -> None:
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    def _answer_whole(self, scope: MutableMapping[str, Any], answer: AtOnce) -> bool:
        """What uvicorn does in two messages, which are needed where others or the client are waited for, and for HEAD."""
        cycle = self.cycle
        is_next = cycle.scope is scope and not (cycle.response_started or cycle.disconnected)
        if not is_next or self.flow.write_paused or scope["method"] == "HEAD":
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        self._put(answer if cycle.keep_alive else answer.as_last())
        if not cycle.keep_alive:
            self._close()
        cycle.on_response()
        return True

    @property
    def stopping(self) -> bool:
        return getattr(self.server_state, "stopping", False)

    def shutdown(self) -> None:
        """At the end of the process. Where the first request is still to come, or has come in part, it is waited for."""
        self._outbox.send(self.transport)
        newest: Any = self.cycle  # as above
        if newest is None or self._in_header:
            self.loop.call_later(FIRST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()

    def _close_after_answer(self) -> None:
        """Says so in the answer."""
        newest: Any = self.cycle
        if newest is not None:
            newest.keep_alive = False

    def on_message_complete(self) -> None:
        self._in_message = False
        self._stop_tail_timer()
        if not self._answered:
            super().on_message_complete()

    def _answer_at_once(self) -> bool:
        """False for what goes the way of ASGI: what must wait its turn, or for the client to read, and what is no plain GET."""
        if self._at_once is None or not self._may_answer_at_once() or not self.parser.should_keep_alive():
            return False
        sent = dict(self.headers)
        if len(sent) != len(self.headers) or not _NOT_PLAIN.isdisjoint(sent):
            return False
        head = Head(self.url, sent)
        answer = self._ask(head)
        if answer is None:
            return False
        self._answered, self._head = True, head
        self._give(answer)
        return True

    def _may_answer_at_once(self) -> bool:
        return not (self.stopping or self.flow.write_paused or self._is_answering())

    def _ask(self, head: Head) -> AtOnce | Soon | None:
        try:
            return self._at_once(head, self.client, self) if self._at_once is not None else None
        except Exception:  # noqa: BLE001 - the boundary; the parser would take it for an error of the client's
            _log.exception("not answered at once")
            return None

    def _give(self, answer: AtOnce | Soon) -> None:
        if isinstance(answer, AtOnce):
            self._write(answer)
        else:
            self._await(answer)

    def _await(self, soon: Soon) -> None:
        promise: Any = Promise()
        self._promise = self.cycle = promise
        task: asyncio.Task[Any] = self.loop.create_task(soon)
        self.tasks.add(task)
        task.add_done_callback(partial(self._keep_promise, promise))

    def messages(self) -> Send:
        """This is the `Turn` of what is answered soon."""
        send: Any = self._promise.by_messages(self, keep_alive=not self.stopping).send
        return cast("Send", send)

    def _keep_promise(self, promise: Promise, task: "asyncio.Task[AtOnce | None]") -> None:
        self.tasks.discard(task)
        promise.response_complete = True
        if promise.disconnected or self.transport.is_closing():
            return
        if task.cancelled() or task.exception() is not None:
            _log.error("not answered soon", exc_info=None if task.cancelled() else task.exception())
            if promise.cycle is None:
                self.transport.write(self._refusal(500, "an unexpected error; it has been logged", slug="internal"))
            self.transport.close()
            return
        answer = task.result()
        if answer is None:
            if not promise.was_sent:
                self.transport.close()
        elif promise.keep_alive and not self.stopping:
            self._active_at = self.loop.time()
            self._write(answer)
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
        else:
            self._write(answer.as_last())
            self._close()

    def _write(self, answer: AtOnce) -> None:
        self._put(answer)
        self.server_state.total_requests += 1
        if self.timeout_keep_alive_task is None:
            self._start_idle_timer(self.timeout_keep_alive)

    def _put(self, answer: AtOnce) -> None:
        state = self.server_state
        if state.default_headers is not self._default_headers:
            self._default_headers = state.default_headers
            self._default_lines = lines_of(state.default_headers)
        head = b"%b%b%b\r\n" % (STATUS_LINE[answer.status], self._default_lines, answer.lines)
        self._outbox.put(self.loop, self.transport, (head, answer.body))

    def _close(self) -> None:
        self._outbox.send(self.transport)
        self.transport.close()

    def eof_received(self) -> None:
        self._outbox.send(self.transport)  # it closes

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words
        self._refuse(400, "malformed", "this is not well-formed HTTP/1.1")

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(
            HEADER_DEADLINE_S, self._refuse, 408, "slow", f"the header was not complete within {HEADER_DEADLINE_S:.0f} s"
        )

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_tail_timer(self) -> None:
        if self._tail_timer is not None:
            self._tail_timer.cancel()
            self._tail_timer = None

    def _end_tail(self) -> None:
        self._refused = True
        self._count_refusal("tail")
        self.transport.close()

    def _refuse(self, status: int, why: str, detail: str) -> None:
        if self._refused:
            return
        self._refused = True
        self._count_refusal(why)
        self._in_header = False
        self._stop_header_timer()
        self._outbox.send(self.transport)
        if self._is_out_of_turn():
            self.transport.close()
            return
        newest: Any = self.cycle
        if newest is not None:
            newest.disconnected = True
            newest.message_event.set()
            self._tell_gone()
        self.transport.write(self._refusal(status, detail))
        # closed at once, it would be reset by what is still coming, and the answer lost with it (RFC 9112, section 9.6)
        self.transport.write_eof()
        self._header_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _count_refusal(self, why: str) -> None:
        shell = getattr(getattr(self.app, "state", None), "shell", None)
        if shell is not None:
            shell.metrics.refused(why)

    def _is_out_of_turn(self) -> bool:
        """Whether a refusal would be taken for a part of an answer that has begun, or for that of a request before this one."""
        is_own = self._in_message and self._handed_on
        return self._is_answering() and (bool(self.pipeline) or self.cycle.response_started or not is_own)

    def _refusal(self, status: int, detail: str, slug: str = "") -> bytes:
        """The whole answer; between two messages, what is known of the last one is not about what came after it."""
        headers = self.headers if self._in_message else []
        target = self.url.partition(b"?")[0] if self._in_message else b""
        request_id = sane_request_id(dict(headers).get(b"x-request-id"))
        _log.info("refused", status=status, detail=detail, request_id=request_id)
        return refusal(status, detail, target, request_id, self.server_state.default_headers, slug)
