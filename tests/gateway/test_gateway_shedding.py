"""Who finds room when there are more requests than may be handed on at a time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Overloaded
from gateway.domain.shedding import Room, Share, Shedding
from shared.errors import Unavailable
from shared.limits.plans import PlanBook

DATA, AUTH = "data-service", "auth-service"


def flood(room: Room, share: Share) -> int:
    """How many of one account get in, one after the other."""
    count = 0
    while room.has_for(share):
        room.take(share)
        count += 1
    return count


def test_one_flood_takes_half_and_each_further_one_a_smaller_part() -> None:
    room = Room(600, 0.25)
    taken = [flood(room, Share(f"tenant {number}", pays=True)) for number in range(3)]
    assert taken == [300, 150, 75]
    assert room.has_for(Share("another", pays=True))


def test_floods_that_go_on_at_the_same_time_end_with_equal_parts() -> None:
    room, floods = Room(400, 0.0), [Share(f"tenant {number}", pays=True) for number in range(3)]
    while any(room.has_for(share) for share in floods):
        for share in floods:
            if room.has_for(share):
                room.take(share)
    assert room.total == 300
    assert {room._taken[share.account] for share in floods} == {100}


def test_what_is_kept_for_those_who_pay_is_theirs_whatever_the_others_do() -> None:
    room = Room(100, 0.25)
    others = sum(flood(room, Share(f"free {number}", pays=False)) for number in range(200))
    assert others == room.total == 75
    assert not room.has_for(Share("one more", pays=False))
    payers = sum(flood(room, Share(f"paying {number}", pays=True)) for number in range(200))
    assert (payers, room.total) == (25, 100)


class NoPlans:
    @property
    def book(self) -> PlanBook:
        raise Unavailable("none")


shares = st.builds(Share, account=st.sampled_from("abcdef"), pays=st.booleans())


@given(st.integers(1, 40), st.floats(0, 1), st.lists(st.one_of(shares, st.integers(0, 99)), max_size=200))
def test_the_laws_of_room(most: int, kept: float, steps: list[Share | int]) -> None:
    room, inside = Room(most, kept), list[Share]()
    for step in steps:
        if isinstance(step, int):
            if inside:
                room.give_back(inside.pop(step % len(inside)))
            continue
        mine = Counter(share.account for share in inside)[step.account]
        limit = most if step.pays else most - int(most * kept)
        assert room.has_for(step) == (mine < limit - len(inside))
        if not mine and step.pays:
            assert room.has_for(step) == (len(inside) < most), "who has nothing under way finds what room there is"
        if room.has_for(step):
            room.take(step)
            inside.append(step)
        assert room.total == len(inside) <= most
        assert room.total <= most - int(most * kept) or any(share.pays for share in inside)
    for share in inside:
        room.give_back(share)
    assert room.total == 0
    assert not room._taken, "nothing is remembered of who has left"


def test_a_service_that_is_full_and_a_gateway_that_is_full_turn_away_and_say_so() -> None:
    told: list[tuple[str, bool]] = []
    shedding = Shedding(
        [DATA, AUTH], NoPlans(), most=3, most_per_service=2, kept=0.0, told=lambda service, pays: told.append((service, pays))
    )
    for account in "ab":
        shedding.take(DATA, Share(account, pays=True))
    with pytest.raises(Overloaded):
        shedding.check(DATA, Share("c", pays=False))
    shedding.take(AUTH, Share("c", pays=True))
    with pytest.raises(Overloaded):
        shedding.take(AUTH, Share("d", pays=True))
    assert told == [(DATA, False), (AUTH, True)]
    shedding.give_back(DATA, Share("a", pays=True))
    shedding.take(AUTH, Share("d", pays=True))
