"""Which requests are the same, and which answers may be given again."""

from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.caching import MAX_AGE_S, AnswerCache, Tags, Views, request_key, tags_in
from shared.limits.plans import Entitlements

ALL = Entitlements(indicators="all", batch_series=5)
PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.text("xyz&=+", max_size=3)), max_size=4)


def key(query: str, path: bytes = b"/p", accept: bytes = b"", tier: str = "pro", entitlements: Entitlements = ALL) -> bytes:
    return request_key(path, query.encode(), accept) + Views().key(tier, entitlements)


@given(PAIRS, PAIRS)
def test_two_requests_share_a_key_when_their_parameters_are_the_same(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    same = sorted(first, key=itemgetter(0)) == sorted(second, key=itemgetter(0))
    assert (key(urlencode(first)) == key(urlencode(second))) == same


@pytest.mark.parametrize(
    "change",
    [
        {"path": b"/q"},
        {"accept": b"text/csv"},
        {"tier": "premium"},
        {"entitlements": Entitlements(indicators=("sma",), batch_series=5)},
        {"entitlements": Entitlements(indicators="all", batch_series=5, history_days=90)},
    ],
    ids=str,
)
def test_what_could_change_the_answer_changes_the_key(change: dict[str, Any]) -> None:
    assert key("symbol=A", **change) != key("symbol=A")


@pytest.mark.parametrize("tag", [b"", b"   ", b"bars:A", b"bars:@v", b"user:1@v", b"bars:A@v user:1@v", b"bars:A@v bars:A@w"])
def test_an_answer_that_is_not_wholly_tagged_with_bars_is_not_kept(tag: bytes) -> None:
    assert tags_in(tag) is None


def test_tags_name_symbols_with_their_versions() -> None:
    assert tags_in(b"bars:BRK.B@0a bars:AAPL@1b") == (("BRK.B", "0a"), ("AAPL", "1b"))


def test_what_a_tier_sees_is_another_thing_once_its_entitlements_are_others() -> None:
    views = Views()
    before = views.key("pro", ALL)
    assert views.key("pro", Entitlements(indicators=("sma",), batch_series=5)) != before
    assert views.key("pro", ALL.model_copy()) == before


@dataclass(frozen=True)
class Kept:
    tags: Tags
    size: int = 100


class Versions:
    """Of every symbol the first version, until a fact tells of another."""

    def __init__(self) -> None:
        self.current = True
        self.moves = 0
        self._known: dict[str, tuple[str, int]] = {}

    def newest(self, symbol: str) -> str | None:
        return self._known.get(symbol, ("v1", 0))[0]

    def moved(self, symbol: str) -> int:
        return self._known.get(symbol, ("v1", 0))[1]

    def tell(self, symbol: str, version: str) -> None:
        self.moves += 1
        self._known[symbol] = version, self.moves


class World:
    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.versions = Versions()
        self.now = 0.0
        self.cache: AnswerCache[Kept] = AnswerCache(self.versions, max_bytes, lambda: self.now)

    def tell(self, symbol: str, version: str) -> None:
        self.versions.tell(symbol, version)
        self.cache.evict(symbol)


def of(*symbols: str, version: str = "v1", size: int = 100) -> Kept:
    return Kept(tuple((symbol, version) for symbol in symbols), size)


def test_an_answer_is_given_until_its_bars_change() -> None:
    world = World()
    answer = of("A")
    world.cache.keep(b"k", answer)
    world.tell("A", "v1")
    world.tell("B", "v2")
    assert world.cache.find(b"k") is answer
    world.tell("A", "v2")
    assert world.cache.find(b"k") is None
    assert (world.cache.counts.answers, world.cache.counts.bytes, world.cache.counts.evicted_by_fact) == (0, 0, 1)


def test_an_answer_from_several_symbols_goes_with_the_first_that_changes() -> None:
    world = World()
    world.cache.keep(b"k", of("A", "B", "C"))
    world.tell("B", "v2")
    assert world.cache.find(b"k") is None
    world.tell("A", "v2")
    assert world.cache.counts.evicted_by_fact == 1


def test_an_answer_that_a_fact_overtook_is_not_kept_nor_one_of_which_no_fact_has_told() -> None:
    world = World()
    world.tell("A", "v2")
    world.cache.keep(b"before", of("A"))
    world.cache.keep(b"ahead", of("A", version="v3"))
    assert (world.cache.find(b"before"), world.cache.find(b"ahead")) == (None, None)
    assert world.cache.counts.overtaken == 2
    world.cache.keep(b"now", of("A", version="v2"))
    assert world.cache.find(b"now") is not None


def test_while_a_fact_may_have_been_missed_nothing_is_given_or_kept() -> None:
    world = World()
    world.cache.keep(b"k", of("A"))
    world.versions.current = False
    assert not world.cache.in_use
    assert world.cache.find(b"k") is None
    world.cache.keep(b"other", of("A"))
    world.versions.current = True
    assert world.cache.find(b"k") is not None, "nothing has changed meanwhile"
    assert world.cache.find(b"other") is None


def test_an_answer_that_a_fact_overtook_on_its_way_is_no_news() -> None:
    world = World()
    tags = of("A", "B").tags
    before = world.cache.moment
    assert world.cache.is_news_since(of("A", version="v9").tags, before), "the service may know before a fact tells"
    world.tell("B", "v2")
    assert not world.cache.is_news_since(tags, before)
    assert world.cache.is_news_since(of("B", version="v2").tags, before)
    world.tell("A", "v1")
    assert world.cache.is_news_since(of("A").tags, before), "told again, it is the newest still"


def test_an_answer_ends_by_its_age() -> None:
    world = World()
    world.cache.keep(b"k", of("A"))
    world.now = MAX_AGE_S
    assert world.cache.find(b"k") is not None
    world.now += 0.1
    assert world.cache.find(b"k") is None
    assert (world.cache.counts.answers, world.cache.counts.evicted_by_age) == (0, 1)


def test_the_least_recently_used_go_first() -> None:
    world = World(max_bytes=3 * 2048)
    for key in (b"a", b"b", b"c"):
        world.cache.keep(key, of("A", size=1024))
    assert world.cache.find(b"a") is not None
    world.cache.keep(b"d", of("A", size=1024))
    assert world.cache.find(b"b") is None
    assert all(world.cache.find(key) is not None for key in (b"a", b"c", b"d"))
    assert world.cache.counts.evicted_for_room == 1


def test_one_that_takes_more_than_all_the_room_moves_nobody() -> None:
    world = World(max_bytes=4096)
    world.cache.keep(b"a", of("A"))
    world.cache.keep(b"b", of("A", size=8192))
    assert world.cache.find(b"b") is None
    assert world.cache.find(b"a") is not None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.binary(max_size=1), st.sets(st.sampled_from("AB"), min_size=1), st.integers(0, 3000)),
        st.tuples(st.just("tell"), st.sampled_from("AB"), st.sampled_from(["v1", "v2"])),
        st.tuples(st.just("find"), st.binary(max_size=1)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_comes_it_stays_within_its_bytes_and_gives_nothing_old(steps: list[tuple[Any, ...]]) -> None:
    world = World(max_bytes=6000)
    for kind, *step in steps:
        if kind == "keep":
            key, symbols, size = step
            tags = tuple((symbol, world.versions.newest(symbol) or "") for symbol in sorted(symbols))
            world.cache.keep(key, Kept(tags, size))
        elif kind == "tell":
            world.tell(*step)
        elif (found := world.cache.find(*step)) is not None:
            assert all(world.versions.newest(symbol) == version for symbol, version in found.tags)
        assert 0 <= world.cache.counts.bytes <= 6000
    for symbol in "AB":
        world.tell(symbol, "v3")
    assert (world.cache.counts.answers, world.cache.counts.bytes) == (0, 0), "nothing is left that a fact does not find"
