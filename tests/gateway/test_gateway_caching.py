"""Which requests are the same, and which answers may be given again."""

from operator import itemgetter
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.caching import AnswerCache, cache_key, versions_in
from gateway.domain.ports import Answer
from shared.limits.plans import Entitlements

ALL = Entitlements(indicators="all", batch_series=5)
PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.text("xyz&=+", max_size=3)), max_size=4)


def key(query: str, **changes: object) -> str:
    given = {"path": "/p", "query": query.encode(), "accept": b"", "tier": "pro", "entitlements": ALL, **changes}
    return cache_key(**given)  # type: ignore[arg-type]  # the changes of a test are of the right types


@given(PAIRS, PAIRS)
def test_two_requests_share_a_key_when_their_parameters_are_the_same(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    same = sorted(first, key=itemgetter(0)) == sorted(second, key=itemgetter(0))
    assert (key(urlencode(first)) == key(urlencode(second))) == same


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/q"},
        {"accept": b"text/csv"},
        {"tier": "premium"},
        {"entitlements": Entitlements(indicators=("sma",), batch_series=5)},
        {"entitlements": Entitlements(indicators="all", batch_series=5, history_days=90)},
    ],
    ids=str,
)
def test_what_could_change_the_answer_changes_the_key(change: dict[str, object]) -> None:
    assert key("symbol=A", **change) != key("symbol=A")


@pytest.mark.parametrize("tag", [None, b"", b"   ", b"bars:A", b"bars:@v", b"user:1@v", b"bars:A@v user:1@v"])
def test_an_answer_that_is_not_wholly_tagged_with_bars_is_not_kept(tag: bytes | None) -> None:
    assert versions_in(tag) is None


def test_tags_name_symbols_with_their_versions() -> None:
    assert versions_in(b"bars:BRK.B@0a bars:AAPL@1b") == {"BRK.B": "0a", "AAPL": "1b"}


class Store:
    def __init__(self) -> None:
        self.kept: dict[str, Answer] = {}

    async def get(self, key: str) -> Answer | None:
        return self.kept.get(key)

    async def put(self, key: str, answer: Answer) -> None:
        self.kept[key] = answer


class Versions:
    def __init__(self) -> None:
        self.current = True
        self.known = {"A": "v1"}

    def newest(self, symbol: str) -> str | None:
        return self.known.get(symbol)


def answer(version: str) -> Answer:
    return Answer(((b"surrogate-key", f"bars:A@{version}".encode()),), b"body")


async def test_an_answer_is_used_until_its_bars_change() -> None:
    store, versions = Store(), Versions()
    cache = AnswerCache(store, versions)
    await cache.keep("k", answer("v1"))
    assert await cache.find("k") == answer("v1")
    versions.known["A"] = "v2"
    assert await cache.find("k") is None


async def test_an_answer_that_a_fact_overtook_is_not_kept() -> None:
    store, versions = Store(), Versions()
    versions.known["A"] = "v2"
    await AnswerCache(store, versions).keep("k", answer("v1"))
    assert not store.kept


async def test_while_a_fact_may_have_been_missed_nothing_is_used_or_kept() -> None:
    store, versions = Store(), Versions()
    cache = AnswerCache(store, versions)
    await cache.keep("k", answer("v1"))
    versions.current = False
    assert not cache.in_use
    assert await cache.find("k") is None
    await cache.keep("other", answer("v1"))
    assert "other" not in store.kept
