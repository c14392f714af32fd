"""`redis+sentinel://`: which Sentinels, which store, and what is asked for."""

import pytest

from shared.sentinel_url import SentinelUrl, parse_sentinel_url


def test_hosts_are_the_sentinels_and_the_rest_is_the_store() -> None:
    found = parse_sentinel_url("redis+sentinel://user:p%40ss@one:1,two,[::1]:3/kalpi/2?sentinel_password=a%20b&protocol=3")
    assert found == SentinelUrl(
        sentinels=(("one", 1), ("two", 26379), ("::1", 3)),
        service="kalpi",
        store="redis://user:p%40ss@primary/2?protocol=3",
        credentials={"password": "a b"},
    )


def test_what_is_not_said_is_the_usual() -> None:
    assert parse_sentinel_url("RedisS+Sentinel://one/kalpi") == SentinelUrl((("one", 26379),), "kalpi", "rediss://primary/0", {})


@pytest.mark.parametrize("url", ["redis://one/0", "rediss://one", "unix:///socket", "sentinel://one/kalpi", "one"])
def test_a_url_of_another_scheme_is_none(url: str) -> None:
    assert parse_sentinel_url(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one",
        "redis+sentinel://one/",
        "redis+sentinel:///kalpi",
        "redis+sentinel://one,/kalpi",
        "redis+sentinel://one:port-secret/kalpi",
        "redis+sentinel://one:70000/kalpi",
        "redis+sentinel://[one/kalpi",
        "redis+sentinel://:secret/kalpi",
        "redis+sentinel://one/kalpi/secret",
        "redis+sentinel://one/kalpi/²",
    ],
)
def test_an_unfit_one_says_what_is_wrong_and_repeats_nothing(url: str) -> None:
    with pytest.raises(ValueError, match=r"Sentinel|database") as refused:
        parse_sentinel_url(url)
    assert "secret" not in str(refused.value)
