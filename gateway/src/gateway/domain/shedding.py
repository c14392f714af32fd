"""How many requests are handed on at a time, and who is told to come again when there are too many.

Of all room, and of the room of each service, a part is kept for callers who pay: for the others the room is smaller by it. Within
what is his, an account may have as many under way as there is room left. So one flood takes half of it, two a third each, k leave
1/(k + 1) of it free, and who has nothing under way finds room (the dynamic threshold of Choudhury and Hahne, 1998, with α = 1).

Health and the gateway's own pages are handed to nobody, and need no room.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from gateway.domain.errors import Overloaded
from shared.limits.plans import PlanBook
from shared.principal import Principal

__all__ = ["Room", "Share", "Shedding"]


class Share(NamedTuple):
    """On whose account a request takes room."""

    account: str
    pays: bool


class Room:
    def __init__(self, most: int, kept: float) -> None:
        """`kept` is the part of `most` that is for those who pay."""
        self._most = most
        self._for_all = most - int(most * kept)
        self._taken: dict[str, int] = {}
        self.total = 0

    def has_for(self, share: Share) -> bool:
        most = self._most if share.pays else self._for_all
        return self._taken.get(share.account, 0) < most - self.total

    def take(self, share: Share) -> None:
        self._taken[share.account] = self._taken.get(share.account, 0) + 1
        self.total += 1

    def give_back(self, share: Share) -> None:
        self.total -= 1
        left = self._taken[share.account] - 1
        if left:
            self._taken[share.account] = left
        else:
            del self._taken[share.account]


class Plans(Protocol):
    @property
    def book(self) -> PlanBook:
        """Unavailable until one is known."""
        ...


class Shedding:
    """Every tier but the lowest of the plan file pays.

    `told` hears of every request that found no room: its service, and whether its caller pays.
    """

    def __init__(
        self,
        services: Iterable[str],
        plans: Plans,
        *,
        most: int,
        most_per_service: int,
        kept: float,
        told: Callable[[str, bool], None],
    ) -> None:
        self._plans = plans
        self._all = Room(most, kept)
        self._rooms = {service: Room(most_per_service, kept) for service in services}
        self._told = told

    def share_of(self, caller: Principal) -> Share:
        return Share(caller.account, pays=caller.tier != next(iter(self._plans.book.tiers)))

    @staticmethod
    def share_of_nobody(client_ip: str) -> Share:
        return Share(f"ip:{client_ip}", pays=False)

    def check(self, service: str, share: Share) -> None:
        """Overloaded where there is no room now: asked before a request has cost anything. It takes none, for it may yet be
        answered without the service, by what another one is waiting for."""
        if not (self._all.has_for(share) and self._rooms[service].has_for(share)):
            self._told(service, share.pays)
            raise Overloaded

    def take(self, service: str, share: Share) -> None:
        """Overloaded, or room until it is given back."""
        self.check(service, share)
        self._all.take(share)
        self._rooms[service].take(share)

    def give_back(self, service: str, share: Share) -> None:
        self._all.give_back(share)
        self._rooms[service].give_back(share)
