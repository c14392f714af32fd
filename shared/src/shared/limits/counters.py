"""The counters in the store: each script of this folder as a call. Raises Unavailable while the store is away."""

from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from itertools import chain
from typing import Any, Protocol

from shared.limits.keys import EPOCH, GATEWAYS, LEASES
from shared.limits.policies import Policy
from shared.scripts import Argument, Part, Script, Shared

__all__ = [
    "DECIDE",
    "MICROSECOND",
    "Answer",
    "Block",
    "Counters",
    "Lost",
    "Now",
    "Pulse",
    "Question",
    "Restored",
    "Scripts",
    "clock_argument",
    "load_script",
]

MICROSECOND = 1_000_000
_MOST_LOST = 1000
_MOST_TERMS = 256
Now = Callable[[], datetime]
"""Replaces the store's clock, in tests."""


class Scripts(Protocol):
    """A `ScriptConnection` is one."""

    @property
    def connected(self) -> bool: ...

    def call(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> "Future[Any]": ...

    def join(self, shared: Shared, part: Part) -> "Future[Any]": ...


class Question:
    """What is asked of the store for the same policies again and again; `terms` are what others may have in common with them."""

    __slots__ = ("_part", "keys", "terms")

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.keys = [policy.key for policy in policies]
        each = ((p.kind, p.quota, p.window_s * MICROSECOND, p.cost, int(p.shadow)) for p in policies)
        self.terms: tuple[Argument, ...] = (len(policies), *chain.from_iterable(each))
        self._part = Part(self.keys, [""])

    def part(self, holder: str) -> Part:
        return Part(self.keys, [holder]) if holder else self._part


@dataclass(slots=True)
class Answer:
    """`now` is the store's clock, in microseconds since 1970. Four `numbers` a policy: violated, remaining, reset and retry, the
    last two in microseconds."""

    admitted: bool
    now: int
    numbers: list[int]

    @classmethod
    def of(cls, reply: list[int]) -> "Answer | None":
        """None when the store is of another epoch."""
        return cls(reply[0] == 1, reply[1], reply[2:]) if reply[0] >= 0 else None


@dataclass(frozen=True, slots=True)
class Block:
    """What a lease has of one policy: `remaining` in the store after it; `day` and `record` where it can be given back."""

    units: int
    remaining: int
    reset: int
    day: int
    record: str


@dataclass(frozen=True, slots=True)
class Pulse:
    epoch: str
    age: int
    live: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What a counter of a day is to have again: `at_least` used, and `more`."""

    key: str
    day: int
    at_least: int = 0
    more: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """A lease that nobody gave back: up to so many units of a counter were paid for, and may not have been used."""

    holder: str
    day: int
    units: int
    counter: str


class Counters:
    def __init__(self, scripts: Scripts, now: Now | None = None) -> None:
        self._scripts = scripts
        self._now = now
        self._asking: tuple[Argument, str] = "", ""
        self._shared: dict[tuple[Argument, ...], Shared] = {}

    @property
    def connected(self) -> bool:
        """Whether there is a store to ask."""
        return self._scripts.connected

    def decide(
        self, question: Question, *, epoch: str = "", holder: str = "", now: datetime | None = None
    ) -> "Future[list[int]]":
        """To be awaited, and read by `Answer.of`; an epoch of "" is any."""
        at = self._at(now)
        if self._asking != (at, epoch) or len(self._shared) >= _MOST_TERMS:
            self._asking = at, epoch
            self._shared.clear()
        shared = self._shared.get(question.terms)
        if shared is None:
            shared = self._shared[question.terms] = Shared(DECIDE, Part([EPOCH], [at, epoch, *question.terms]))
        return self._scripts.join(shared, question.part(holder))

    async def lease(
        self, policies: Sequence[Policy], units: Sequence[int], keep: Sequence[int], *, epoch: str, name: str, lost_after_s: float
    ) -> list[Block] | None:
        """So many units of each policy, of which `keep` remain; None when one has less, or the store is of another epoch."""
        keys = [EPOCH, LEASES, *(policy.key for policy in policies)]
        arguments: list[Argument] = [self._at(), epoch, name, round(lost_after_s * MICROSECOND)]
        for p, wanted, left in zip(policies, units, keep, strict=True):
            arguments += [p.kind, p.quota, p.window_s * MICROSECOND, wanted, left]
        granted, _, *numbers = await self._scripts.call(_LEASE, keys, arguments)
        if granted < 1:
            return None
        rows = zip(policies, units, numbers[0::3], numbers[1::3], numbers[2::3], strict=True)
        return [
            Block(wanted, remaining, reset, day, f"{name} {day} {wanted} {p.key}" if day else "")
            for p, wanted, remaining, reset, day in rows
        ]

    def give_back(self, record: str, left: int) -> "Future[Any]":
        """The units that were credited: none to a day that is over, and of one record once. Sent before what is asked next."""
        _, day, _, counter = record.split(" ")
        return self._scripts.call(_GIVE_BACK, [LEASES, counter], [record, day, left])

    async def lost_leases(self) -> list[Lost]:
        """Each is told once."""
        records: list[bytes] = await self._scripts.call(_LOST, [LEASES], [self._at(), _MOST_LOST])
        parts = [record.decode().split(" ") for record in records]
        return [Lost(name.partition("/")[0], int(day), int(units), counter) for name, day, units, counter in parts]

    async def restore(self, counters: Sequence[Restored]) -> int:
        """The units that were added."""
        arguments = [number for each in counters for number in (each.day, each.at_least, each.more)]
        added: int = await self._scripts.call(_RESTORE, [each.key for each in counters], arguments)
        return added

    async def heartbeat(self, gateway: str, proposed: str, alive_s: float) -> Pulse:
        """`alive_s` 0 leaves."""
        arguments: list[Argument] = [self._at(), proposed, gateway, round(alive_s * MICROSECOND)]
        epoch, age, live = await self._scripts.call(_HEARTBEAT, [EPOCH, GATEWAYS], arguments)
        return Pulse(epoch.decode(), age, live)

    def release(self, key: str, holder: str) -> "Future[Any]":
        return self._scripts.call(_RELEASE, [key], [holder])

    def _at(self, now: datetime | None = None) -> Argument:
        return clock_argument(self._now if now is None else lambda: now)


def clock_argument(now: Now | None) -> Argument:
    """As the scripts read it."""
    return "" if now is None else round(now().timestamp() * MICROSECOND)


def load_script(name: str) -> Script:
    """One of this folder's, with what all are made with."""
    folder = files("shared.limits")
    return Script("\n".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("counters", name)))


DECIDE, _LEASE, _GIVE_BACK = load_script("decide"), load_script("lease"), load_script("give_back")
_LOST, _RESTORE, _HEARTBEAT = load_script("lost_leases"), load_script("restore"), load_script("heartbeat")
_RELEASE = Script('return redis.call("ZREM", KEYS[1], ARGV[1])')
