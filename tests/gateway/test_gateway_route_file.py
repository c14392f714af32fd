"""The route file: what ships, what is refused and how that is said, and what happens when it changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from gateway.adapters.route_files import RouteFile, shipped_routes
from gateway.app import create_app
from gateway.domain.route_file import RouteFileError, parse_routes
from gateway.domain.routing import Route
from shared.events import EventBus
from shared.metrics import Metrics
from tests.gateway.conftest import Origin, settings_for
from tests.support.asgi import running
from tests.support.poll import until

BARS = {"path": "/api/v1/bars", "service": "data-service", "access": "data", "scope": "bars:read"}
LOGIN = {"path": "/api/v1/auth/login", "service": "auth-service", "access": "open", "alone": True}


def written(*rules: Any) -> str:
    return yaml.safe_dump({"routes": list(rules)}, sort_keys=False)


def faults(text: str) -> list[str]:
    with pytest.raises(RouteFileError) as raised:
        parse_routes(text)
    return raised.value.faults


def test_all_that_a_rule_may_say_is_in_the_route() -> None:
    batch = {**BARS, "alone": True, "batch": True, "explains": True, "body_mib": 16, "timeout_s": 1.5}
    upload = {**BARS, "path": "/up", "access": "account", "scope": "any", "changing": "admin", "upload_mib": 2}
    assert parse_routes(written(batch, upload, LOGIN)) == (
        Route(
            "/api/v1/bars",
            "data-service",
            "data",
            "bars:read",
            alone=True,
            batch=True,
            explains=True,
            body_bytes=16 << 20,
            timeout_s=1.5,
        ),
        Route("/up", "data-service", "account", None, changing="admin", upload_bytes=2 << 20),
        Route("/api/v1/auth/login", "auth-service", "open", None, alone=True),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"service": "metrics-service"}, "service: Input should be 'auth-service'"),
        ({"access": "public"}, "access: Input should be 'open', 'account' or 'data'"),
        ({"scope": "bars:write"}, "scope: Input should be 'indicators:read'"),
        ({"changing": "any"}, "changing: Input should be 'indicators:read'"),
        ({"scope": None}, "rule: a scope is said for every access but open"),
        ({"access": "open"}, "rule: a scope is said for every access but open"),
        ({"access": "open", "scope": None, "changing": "admin"}, "rule: changing is for what is not open"),
        ({"access": "account", "batch": True}, "rule: only data is a batch"),
        ({"access": "account", "explains": True}, "rule: only data is a batch, or explains"),
        ({"access": "account", "body_mib": 1}, "rule: body_mib is for data"),
        ({"upload_mib": 1}, "rule: only what is the account's is an upload"),
        ({"body_mib": 65}, "body_mib: Input should be less than or equal to 64"),
        ({"body_mib": "16"}, "body_mib: Input should be a valid integer"),
        ({"timeout_s": 0}, "timeout_s: Input should be greater than 0"),
        ({"timeout_s": float("nan")}, "timeout_s: Input should be"),
        ({"alone": "yes, please"}, "alone: Input should be a valid boolean"),
        ({"timeout": 3}, "timeout: Extra inputs are not permitted"),
        ({"path": "/api/v1/bars/"}, "path: a path begins with /"),
        ({"path": "/api//v1"}, "path: a path begins with /"),
        ({"path": "/api/../internal"}, "path: a path begins with /"),
        ({"path": "/api/v1/{symbol}"}, "path: a path begins with /"),
        ({"path": "/internal/v1/resolve"}, "path: this path is not for clients"),
        ({"path": "/health"}, "path: this path is not for clients"),
        ({"path": "/metrics"}, "path: this path is not for clients"),
    ],
)
def test_a_bad_rule_is_named_with_its_line(change: dict[str, Any], said: str) -> None:
    text = written(LOGIN, {**BARS, **change})
    line = text.splitlines().index(f"- path: {change.get('path', BARS['path'])}") + 1
    (fault,) = faults(text)
    assert fault.startswith(f"line {line} ("), fault
    assert f"): {said}" in fault


def test_every_bad_rule_is_named() -> None:
    text = written({**BARS, "scope": "x", "service": "y"}, LOGIN, {"path": "/a"}, 7)
    assert [fault.partition(":")[0] for fault in faults(text)] == [
        "line 2 (/api/v1/bars)",
        "line 2 (/api/v1/bars)",
        "line 10 (/a)",
        "line 10 (/a)",
        "line 11",
    ]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({}, {}),
        ({"alone": True}, {"alone": True}),
        ({}, {"alone": True}),
        ({}, {"path": "/api/v1/bars/batch"}),
    ],
)
def test_a_rule_that_no_path_comes_as_far_as_is_refused(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    (fault,) = faults(written({**BARS, **earlier}, {**BARS, **later}))
    assert "for the rule of line 2 takes them all" in fault


@pytest.mark.parametrize("text", ["", "[]", "routes: {}", "routes: []", "routes: 1\nmore: 2", "routes: [", "- 1", "\x00"])
def test_what_is_no_route_file_is_refused(text: str) -> None:
    assert faults(text)


def test_the_shipped_file_begins_with_what_needs_no_credentials() -> None:
    routes = parse_routes(shipped_routes())
    assert routes[0].path == "/api/v1/auth/register"
    assert {route.access for route in routes} == {"open", "account", "data"}


def outcome(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value("kalpi_gateway_route_files_total", {"outcome": name}) or 0.0


def test_a_bad_file_leaves_the_old_routes_in_force_and_is_told_once(tmp_path: Path) -> None:
    path, metrics = tmp_path / "routes.yaml", Metrics("test")
    path.write_text(written(BARS, LOGIN))
    file = RouteFile(path, metrics)
    in_force = file.table.routes

    def unreadable() -> None:
        path.unlink()

    for number, spoil in enumerate(
        (lambda: path.write_text(written({**BARS, "scope": "x"})), lambda: path.write_bytes(b"\xff\xfe"), unreadable), 1
    ):
        spoil()
        file.look_again()
        file.look_again()
        assert file.table.routes == in_force
        assert (outcome(metrics, "refused"), outcome(metrics, "in force")) == (number, 0)
    path.write_text(written(LOGIN))
    file.look_again()
    file.look_again()
    assert [route.path for route in file.table.routes] == [LOGIN["path"]]
    assert outcome(metrics, "in force") == 1


async def test_a_changed_file_is_in_force_without_a_restart(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(written(LOGIN))
    headers, _ = origin.new_person("wide")
    app = create_app(settings_for(origin_url, redis_url, nats_url, routes_path=path, routes_look_s=0.02))
    async with running(app) as client:

        async def answers(status: int) -> bool:
            return (await client.get("/api/v1/bars/A", headers=headers)).status_code == status

        def becomes(status: int) -> Callable[[], Any]:
            return lambda: answers(status)

        assert await answers(404)
        path.write_text(written(LOGIN, BARS))
        await until(becomes(200), what="the new route")
        path.write_text(written(LOGIN, {**BARS, "scope": "admin", "service": "nowhere"}))

        async def refused() -> bool:
            return outcome(app.state.shell.metrics, "refused") == 1

        await until(refused, what="the bad file is told of")
        assert await answers(200)


def test_a_gateway_with_an_unfit_file_does_not_start_and_names_each_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redis_url: str, nats_url: str
) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(written({**BARS, "scope": "x"}, {**LOGIN, "service": "y"}))
    for unfit in (path, tmp_path / "none.yaml"):
        with pytest.raises(SystemExit) as ended:
            create_app(settings_for("http://127.0.0.1:1", redis_url, nats_url, routes_path=unfit))
        assert ended.value.code == 78
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("(")[0] for line in said[:2]] == ["route file: line 2 ", "route file: line 6 "]
    assert "No such file" in said[2]
