"""Which service a path belongs to, and that no spelling reaches what is private."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.routing import MOST_KNOWN, Route, RouteTable
from tests.support.routes import ROUTES, TABLE


def said(route: Route | None) -> tuple[str, str] | None:
    return (route.service, route.access) if route else None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/auth/register", ("auth-service", "open")),
        ("/api/v1/auth/login", ("auth-service", "open")),
        ("/api/v1/auth/logout", ("auth-service", "open")),
        ("/api/v1/auth/logout-all", ("auth-service", "account")),
        ("/api/v1/auth/password/forgot", ("auth-service", "open")),
        ("/api/v1/auth/password/reset", ("auth-service", "open")),
        ("/api/v1/auth/password", ("auth-service", "account")),
        ("/api/v1/auth/me", ("auth-service", "account")),
        ("/api/v1/auth/api-keys/0190", ("auth-service", "account")),
        ("/api/v1/admin/users/0190", ("auth-service", "account")),
        ("/.well-known/jwks.json", ("auth-service", "open")),
        ("/api/v1/symbols", ("data-service", "data")),
        ("/api/v1/bars/BRK.B", ("data-service", "data")),
        ("/api/v1/indicators", ("indicator-service", "account")),
        ("/api/v1/indicators/rsi", ("indicator-service", "data")),
        ("/api/v1/indicators/batch", ("indicator-service", "data")),
        ("/api/v1/patterns", ("indicator-service", "data")),
        ("/api/v1/patterns/BRK.B", ("indicator-service", "data")),
        ("/api/v1/screener", ("indicator-service", "data")),
        ("/api/v1/indicators/custom", ("indicator-service", "account")),
        ("/api/v1/indicators/custom/trend", ("indicator-service", "account")),
        ("/api/v1/indicators/customs", ("indicator-service", "data")),
        ("/api/v1/expressions/evaluate", ("indicator-service", "data")),
        ("/api/v1/expressions/validate", ("indicator-service", "account")),
        ("/api/v1/usage", ("ratelimit-service", "account")),
    ],
)
def test_a_path_belongs_to_one_service(path: str, expected: tuple[str, str]) -> None:
    assert said(TABLE.of(path.encode())) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "*",
        "/health",
        "/metrics",
        "/internal/v1/resolve",
        "/api/v1/symbolsX",
        "/api/v1/symbols/",
        "//api/v1/symbols",
        "/api//v1/symbols",
        "/api/v1/auth/../../../internal/v1/resolve",
        "/api/v1/auth/..",
        "/api/v1/auth/./me",
        "/api/v1/auth/%2e%2e/admin",
        "/api/v1/bars/A%2FB",
        "/api/v1/bars/A\\B",
        "/api/v1/bars/A;x=1",
        "/api/v1/bars/A\x00",
        "/api/v1/bars/Ä",
        "/API/v1/bars/A",
    ],
)
def test_anything_else_belongs_to_none(path: str) -> None:
    assert TABLE.of(path.encode()) is None


@given(st.sampled_from(ROUTES), st.lists(st.sampled_from(["x", "batch", "custom", "validate", "me", "v1"]), max_size=3))
def test_a_path_belongs_to_the_first_route_that_matches(route: Route, beneath: list[str]) -> None:
    path = "/".join([route.path, *beneath])
    assert TABLE.of(path.encode()) is next((one for one in ROUTES if one.matches(path)), None)


@given(st.lists(st.sampled_from(["..", ".", "", "%2e%2e", "internal", "v1", "api", "auth", "bars", "AAPL"]), max_size=8))
def test_no_path_with_a_dotted_or_empty_segment_is_routed(segments: list[str]) -> None:
    route = TABLE.of(("/" + "/".join(segments)).encode())
    if {"..", ".", "", "%2e%2e"} & set(segments):
        assert route is None


@pytest.mark.parametrize(
    ("target", "free"),
    [
        ("/api/v1/indicators/rsi?symbol=AAPL&explain=true", True),
        ("/api/v1/indicators/rsi?%65xplain=true&symbol=AAPL", True),
        ("/api/v1/indicators/rsi?symbol=AAPL", False),
        ("/api/v1/indicators/rsi?explain=false", False),
        ("/api/v1/indicators/rsi?explain=1", False),
        ("/api/v1/indicators/rsi?explain=", False),
        ("/api/v1/indicators/rsi?explain=true&explain=true", False),
        ("/api/v1/indicators/rsi?explain=true&explain=false", False),
        ("/api/v1/indicators/rsi?Explain=true", False),
        ("/api/v1/indicators/rsi?explain=true;explain=false", False),
        ("/api/v1/bars/AAPL?explain=true", False),
    ],
)
def test_asking_what_it_would_cost_is_free(target: str, free: bool) -> None:
    path, _, query = target.partition("?")
    route = TABLE.of(path.encode())
    assert route is not None
    assert route.is_free(query.encode()) == free


def test_more_paths_than_are_remembered_are_found_all_the_same() -> None:
    table = RouteTable(ROUTES)
    bars = next(route for route in ROUTES if route.path == "/api/v1/bars")
    for number in range(2 * MOST_KNOWN):
        assert table.of(b"/api/v1/bars/S%d" % number) is bars
        assert len(table._known) <= MOST_KNOWN
    assert table.of(b"/api/v1/bars/" + b"S" * 1000) is bars
    assert table.of(b"/api/v1/nowhere") is None
    assert not {b"/api/v1/bars/" + b"S" * 1000, b"/api/v1/nowhere"} & set(table._known), "neither is worth the room"


def test_other_routes_in_force_are_in_force_for_paths_that_were_asked_for_before() -> None:
    table = RouteTable(ROUTES)
    assert table.of(b"/api/v1/bars/A") is not None
    table.take([route for route in ROUTES if route.path != "/api/v1/bars"])
    assert table.of(b"/api/v1/bars/A") is None


def test_who_remembers_something_of_the_routes_is_told_when_others_are_in_force() -> None:
    table, told = RouteTable(ROUTES), list[str]()
    table.when_taken(lambda: told.append("taken"))
    table.take(ROUTES)
    assert told == ["taken"]
