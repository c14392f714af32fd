"""Which of a service's instances is asked next: of those that may be, the one with the fewest requests under way.

Of equals, each in turn.
"""

from collections.abc import Collection, Iterator, Sequence

from gateway.domain.breaker import Breaker, BreakerRules

__all__ = ["Call", "Instance", "Instances"]


class Instance:
    """One base URL."""

    def __init__(self, url: str, rules: BreakerRules) -> None:
        self.url = url
        self.breaker = Breaker(rules)
        self.under_way = 0

    def start(self, now: float) -> "Call":
        return Call(self, now)


class Call:
    """One request under way at an instance, until it is ended; ending it again does nothing."""

    __slots__ = ("_era", "_open", "instance")

    def __init__(self, instance: Instance, now: float) -> None:
        self.instance = instance
        self._open = True
        instance.under_way += 1
        self._era = instance.breaker.enter(now)

    def end(self, now: float, *, failed: bool | None) -> None:
        """`failed` is None where that says nothing about the instance: its client went away."""
        if not self._open:
            return
        self._open = False
        self.instance.under_way -= 1
        if failed is not None:
            self.instance.breaker.leave(self._era, now, failed=failed)


class Instances:
    def __init__(self, urls: Sequence[str], rules: BreakerRules) -> None:
        self._all = tuple(Instance(url, rules) for url in urls)
        self._turn = 0

    def __iter__(self) -> Iterator[Instance]:
        return iter(self._all)

    def choose(self, now: float, but: Collection[Instance] = ()) -> Instance | None:
        """None when no breaker but those of `but` admits a request."""
        self._turn += 1
        best: Instance | None = None
        for offset in range(len(self._all)):
            one = self._all[(self._turn + offset) % len(self._all)]
            if (best is None or one.under_way < best.under_way) and one not in but and one.breaker.admits(now):
                best = one
        return best

    def admit_in(self, now: float) -> float:
        """Seconds until the first of them does, as far as is known."""
        return min(one.breaker.admits_in(now) for one in self._all)
