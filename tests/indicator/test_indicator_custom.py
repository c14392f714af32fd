"""Users' own indicators over HTTP: managed by their owner, and used wherever an indicator is."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import polars as pl
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from gateway.app import create_app as create_gateway
from indicator_service.api import expressions
from indicator_service.api.custom_schemas import CustomAnswer
from indicator_service.api.schemas import CatalogueAnswer, IndicatorAnswer
from indicator_service.app import create_app
from indicator_service.domain.catalogue import CATALOGUE, FUNCTIONS_BY_NAME
from indicator_service.domain.evaluation import validation
from indicator_service.domain.expressions import parse
from indicator_service.domain.indicator import Functions
from indicator_service.settings import Settings
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from tests.gateway.conftest import Origin, settings_for
from tests.indicator.people import BASE, CUSTOM, LENGTH, SPREAD, Person
from tests.support.asgi import running
from tests.support.http_server import serving
from tests.support.poll import until
from tests.support.principals import ALL

BARS = [{"date": f"2013-01-{day:02}", "close": 10 + day % 3} for day in range(1, 29)]
NOT_FREE = ["rsi", "bollinger_bands", "ichimoku", "custom", "batch", "close", "hl2", "since", "and", "source"]
NO_CUSTOM = ALL.model_copy(update={"features": ("expressions", "patterns")})


# ----- managing


async def test_what_is_saved_is_shown_listed_changed_and_deleted(ann: Person) -> None:
    saved = await ann.save(**SPREAD, description="how far from its mean")
    CustomAnswer.model_validate(saved)
    assert {**saved, "created_at": ..., "updated_at": ...} == {
        "name": "spread",
        "description": "how far from its mean",
        "version": 1,
        "expression": "close - sma(close, length)",
        "parameters": [LENGTH],
        "created_at": ...,
        "updated_at": ...,
    }
    assert (await ann.get(CUSTOM)).json() == {"data": [saved], "next_cursor": None}
    changed = (await ann("PUT", f"{CUSTOM}/spread", json={"expression": "close / open"})).json()
    assert (changed["version"], changed["description"], changed["parameters"]) == (2, "", [])
    shown = (await ann.get(f"{CUSTOM}/spread")).json()
    versions = shown.pop("versions")
    assert (shown, [version["version"] for version in versions]) == (changed, [2, 1])
    before = (await ann.get(f"{CUSTOM}/spread?version=1")).json()
    assert (before["version"], before["expression"]) == (1, SPREAD["expression"])
    assert (await ann.get(f"{CUSTOM}/spread?version=3")).status_code == 404
    deleted = await ann("DELETE", f"{CUSTOM}/spread")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method in ("GET", "DELETE"):
        assert (await ann(method, f"{CUSTOM}/spread")).status_code == 404
    assert (await ann("PUT", f"{CUSTOM}/spread", json={"expression": "close"})).status_code == 404


async def test_a_name_is_taken_once_also_by_many_at_once(ann: Person) -> None:
    answers = await asyncio.gather(*(ann.post(CUSTOM, SPREAD) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]


async def test_lists_come_in_pages(ann: Person) -> None:
    for name in ("cc", "aa", "bb"):
        await ann.save(name=name, expression="close")
    first = (await ann.get(f"{CUSTOM}?limit=2")).json()
    rest = (await ann.get(f"{CUSTOM}?limit=2&cursor={first['next_cursor']}")).json()
    assert [one["name"] for one in first["data"] + rest["data"]] == ["aa", "bb", "cc"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "name",
    [*NOT_FREE, "x", "Trend", "9lives", "a'--", "é", "a" * 41, "a b", ""],
)
async def test_a_name_that_is_none_or_means_something_else_is_refused(ann: Person, name: str) -> None:
    answer = await ann.post(CUSTOM, {"name": name, "expression": "close"})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "name"])


async def test_no_indicator_is_looked_for_under_what_is_no_name(ann: Person) -> None:
    for name in ("a%00b", "%ED%A0%80", "a%0A", "Trend", "x", "a" * 41):
        for method, body in (("GET", {}), ("PUT", {"json": {"expression": "close"}}), ("DELETE", {})):
            answer = await ann(method, f"{CUSTOM}/{name}", **body)
            assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["path", "name"]), (method, name)


def test_every_name_of_the_catalogue_is_refused_and_none_of_them_is_a_reserved_path() -> None:
    assert not {"custom", "batch"} & FUNCTIONS_BY_NAME.keys()


@pytest.mark.parametrize(
    ("parameter", "loc"),
    [
        ({"name": "symbol", "type": "int", "default": 1}, ["name"]),
        ({"name": "close", "type": "int", "default": 1}, ["name"]),
        ({"name": "series_type", "type": "int", "default": 1}, ["name"]),
        ({"name": "N", "type": "int", "default": 1}, ["name"]),
        ({"name": "n", "type": "text", "default": 1}, ["type"]),
        ({"name": "n", "type": "int", "default": 1.5}, []),
        ({"name": "n", "type": "int", "default": True}, ["default", "int"]),
        ({"name": "n", "type": "int", "default": 10**400}, []),
        ({"name": "n", "type": "int", "default": 5, "minimum": 6}, []),
        ({"name": "n", "type": "int", "default": 5, "maximum": 4}, []),
        ({"name": "n", "type": "float", "default": 1e308}, []),
        ({"name": "n", "type": "float", "default": 10**400}, []),
        ({"name": "n", "type": "float", "default": 1, "minimum": -(10**400)}, []),
        ({"name": "n", "type": "int", "default": 1, "step": 1}, ["step"]),
        ({"name": "n", "type": "int"}, ["default"]),
    ],
)
async def test_a_parameter_that_is_unfit_is_named(ann: Person, parameter: dict[str, Any], loc: list[str]) -> None:
    answer = await ann.post(CUSTOM, {"name": "mine", "expression": "close", "parameters": [parameter]})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"] == ["body", "parameters", 0, *loc]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"description": "x" * 501}, "description"),
        ({"description": "a\0b"}, "description"),
        ({"expression": "x" * 5000}, "expression"),
        ({"parameters": [{**LENGTH, "name": f"n{i}"} for i in range(17)]}, "parameters"),
        ({"parameters": [LENGTH, LENGTH]}, "parameters"),
        ({"version": 3}, "version"),
    ],
)
async def test_everything_is_bounded_and_nothing_unknown_is_taken(ann: Person, body: dict[str, Any], loc: str) -> None:
    answer = await ann.post(CUSTOM, {"name": "mine", "expression": "close", **body})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", loc])


async def test_text_with_half_a_surrogate_pair_is_refused(ann: Person) -> None:
    sent = b'{"name": "mine", "expression": "close", "description": "\\ud800"}'
    assert (await ann("POST", CUSTOM, content=sent, headers={"Content-Type": "application/json"})).status_code == 422


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_mistake_in_the_expression_is_shown_at_its_place(ann: Person, method: str) -> None:
    await ann.save(**SPREAD)
    path, body = (CUSTOM, {"name": "other"}) if method == "POST" else (f"{CUSTOM}/spread", {})
    answer = await ann(method, path, json={**body, "expression": "close +\nsmaa(close, 5)"})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["loc"], error["line"], error["column"]) == (422, ["body", "expression"], 2, 1)
    assert "sma" in error["suggestion"]
    constant = await ann(method, path, json={**body, "expression": "1 + 1"})
    assert (constant.status_code, constant.json()["errors"][0]["type"]) == (422, "expression_type")
    assert (await ann.get(f"{CUSTOM}/spread")).json()["version"] == 1


async def test_one_of_ones_own_cannot_be_made_of_others_of_ones_own(ann: Person) -> None:
    await ann.save(**SPREAD)
    answer = await ann.post(CUSTOM, {"name": "twice", "expression": "2 * spread()"})
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "expression_name")


async def test_words_of_sql_are_words(ann: Person) -> None:
    words = "'; DROP TABLE indicator.custom_indicator; --"
    saved = await ann.save(name="select", expression="close", description=words)
    assert (await ann.get(CUSTOM)).json()["data"] == [saved]
    assert (await ann.get(f"{CUSTOM}/{words[1:3].strip()}x'")).status_code == 422


# ----- using


async def evaluated(person: Person, expression: str) -> list[Any]:
    answer = await person.post("/api/v1/expressions/evaluate", {"expression": expression, "symbol": "FB"})
    assert answer.status_code == 200, answer.text
    return [row["value"] for row in answer.json()["data"]]


async def test_it_is_computed_like_any_other_on_stored_bars_and_on_ones_own(ann: Person) -> None:
    await ann.save(**SPREAD)
    answer = await ann.get(f"{BASE}/spread?symbol=AAPL&length=5&limit=2000&start_date=2010-01-04")
    document = answer.json()
    IndicatorAnswer.model_validate(document)
    assert (document["indicator"], document["parameters"]) == ("spread", {"length": 5})
    assert document["provenance"]["formula"] == SPREAD["expression"]
    assert document["warmup"] == {"required": 4, "used": document["warmup"]["used"], "converged": True}
    evaluated = await ann.post(
        "/api/v1/expressions/evaluate",
        {"expression": "close - sma(close, 5)", "symbol": "AAPL", "start_date": "2010-01-04", "limit": 2000},
    )
    assert document["data"] == evaluated.json()["data"]
    table = pl.read_ipc_stream(
        io.BytesIO((await ann.get(f"{BASE}/spread?symbol=AAPL&length=5&limit=2000&start_date=2010-01-04&format=arrow")).content)
    )
    assert table["value"].to_list() == [row["value"] for row in document["data"]]
    sent = (await ann.post(f"{BASE}/spread", {"bars": BARS, "parameters": {"length": 3}})).json()
    assert [row["value"] for row in sent["data"][:4]] == [None, None, pytest.approx(10 - 11), pytest.approx(11 - 11)]
    missing = await ann.post(f"{BASE}/spread", {"bars": [{"date": "2013-01-02", "open": 1}]})
    assert (missing.status_code, missing.json()["errors"][0]["loc"]) == (422, ["body", "bars", "close"])


async def test_conditions_and_several_outputs_come_as_they_are(ann: Person) -> None:
    await ann.save(name="up", expression="close > open")
    await ann.save(name="channel", expression="bbands(length, 2, 2)", parameters=[LENGTH])
    assert set(await ann.values(f"{BASE}/up?symbol=IBM&limit=100")) == {True, False}
    own = (await ann.get(f"{BASE}/channel?symbol=IBM&length=10&limit=60")).json()["data"]
    assert own == (await ann.get(f"{BASE}/bbands?symbol=IBM&time_period=10&limit=60")).json()["data"]


async def test_parameters_are_checked_like_those_of_the_catalogue(ann: Person) -> None:
    await ann.save(**SPREAD)
    await ann.save(name="loose", expression="sma(close, n)", parameters=[{"name": "n", "type": "int", "default": 3}])
    for query, at in (("length=1", "length"), ("length=501", "length"), ("length=x", "length"), ("window=3", "window")):
        answer = await ann.get(f"{BASE}/spread?symbol=AAPL&{query}")
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", at])
    for number in (0, -5, 2**31 - 1):
        answer = await ann.get(f"{BASE}/loose?symbol=AAPL&n={number}")
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "n"])
    posted = await ann.post(f"{BASE}/loose", {"bars": BARS, "parameters": {"n": 0}})
    assert (posted.status_code, posted.json()["errors"][0]["loc"]) == (422, ["body", "parameters", "n"])


@pytest.mark.parametrize("name", ["model_dump", "model_config", "model_fields_set", "copy", "json", "p_length"])
async def test_a_parameter_may_have_any_name_that_means_nothing_else(ann: Person, name: str) -> None:
    await ann.save(**{**SPREAD, "expression": f"close - sma(close, {name})", "parameters": [{**LENGTH, "name": name}]})
    by_hand = await evaluated(ann, "close - sma(close, 5)")
    assert await ann.values(f"{BASE}/spread?symbol=FB&{name}=5") == by_hand
    assert await evaluated(ann, f"spread({name}=5)") == by_hand
    refused = await ann.get(f"{BASE}/spread?symbol=FB&{name}=1")
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["query", name])
    assert (await ann.get(f"{BASE}/spread?symbol=FB&p_{name}=5")).status_code == 422


async def test_what_it_would_cost_can_be_asked(ann: Person) -> None:
    await ann.save(**SPREAD)
    explained = (await ann.get(f"{BASE}/spread?symbol=AAPL&explain=true&limit=7")).json()
    assert (explained["indicator"], explained["values"], explained["warmup"]["required"]) == ("spread", 7, 19)


async def test_a_change_counts_at_once_on_every_instance(ann: Person, settings: Settings) -> None:
    await ann.save(name="mine", expression="close")
    async with running(create_app(settings)) as other:
        elsewhere = Person(other)
        elsewhere._principal = ann._principal
        path = f"{BASE}/mine?symbol=AAPL&limit=5"
        assert await elsewhere.values(path) == await ann.values(path)
        for expression in ("close * 2", "close * 3"):
            before = await elsewhere.values(path)
            await ann("PUT", f"{CUSTOM}/mine", json={"expression": expression})
            assert await elsewhere.values(path) == await ann.values(path) != before
        await ann("DELETE", f"{CUSTOM}/mine")
        assert (await elsewhere.get(path)).status_code == 404


async def test_whoever_moves_to_another_tenant_keeps_their_own(ann: Person) -> None:
    saved = await ann.save(**SPREAD)
    ann.move()
    assert (await ann.get(f"{CUSTOM}/spread")).json()["created_at"] == saved["created_at"]
    assert (await ann.post(CUSTOM, SPREAD)).status_code == 409


async def test_a_page_of_one_version_does_not_go_on_in_another(ann: Person) -> None:
    await ann.save(name="mine", expression="close")
    cursor = (await ann.get(f"{BASE}/mine?symbol=AAPL&limit=5")).json()["next_cursor"]
    assert (await ann.get(f"{BASE}/mine?symbol=AAPL&limit=5&cursor={cursor}")).status_code == 200
    await ann("PUT", f"{CUSTOM}/mine", json={"expression": "open"})
    assert (await ann.get(f"{BASE}/mine?symbol=AAPL&limit=5&cursor={cursor}")).status_code in {409, 422}


async def test_it_stands_in_its_owners_catalogue_after_the_built_in_ones(ann: Person, bob: Person) -> None:
    await ann.save(**SPREAD, description="how far from its mean")
    document = (await ann.get(BASE)).json()
    CatalogueAnswer.model_validate(document)
    entry = document["data"][-1]
    assert len(document["data"]) == len(CATALOGUE) + 1
    assert (entry["name"], entry["type"], entry["title"]) == ("spread", "custom", "how far from its mean")
    assert (entry["inputs"], entry["outputs"], entry["minimum_tier"]) == (["close"], ["value"], "expert")
    assert entry["warmup"] == {"lookback": 19, "required": 19, "recursive": False}
    assert [one["name"] for one in (await ann.get(f"{BASE}?type=custom")).json()["data"]] == ["spread"]
    assert [one["name"] for one in (await ann.get(f"{BASE}?search=spread&input=close")).json()["data"]][-1] == "spread"
    assert len((await bob.get(BASE)).json()["data"]) == len(CATALOGUE)


async def test_expressions_call_it_and_any_input_can_be_made_of_it(ann: Person) -> None:
    await ann.save(**SPREAD)
    inner = "close - sma(close, 5)"
    own = await ann.values(f"{BASE}/rsi?symbol=AAPL&limit=300&series_type=spread(5)")
    assert own == await ann.values(f"{BASE}/rsi?symbol=AAPL&limit=300&series_type={inner}")
    assert own == await ann.values(f"{BASE}/rsi?symbol=AAPL&limit=300&series_type=SPREAD(length=5)")
    for expression, same in {
        "spread(5) * 2 > spread()": f"({inner}) * 2 > close - sma(close, 20)",
        "sma(spread(5), 3)": f"sma({inner}, 3)",
    }.items():
        answers = [
            await ann.post("/api/v1/expressions/evaluate", {"expression": each, "symbol": "AAPL", "limit": 300})
            for each in (expression, same)
        ]
        assert answers[0].json()["data"] == answers[1].json()["data"]
        said = (await ann.post("/api/v1/expressions/validate", {"expression": expression})).json()
        assert said == (await ann.post("/api/v1/expressions/validate", {"expression": same})).json()
    posted = [
        await ann.post(f"{BASE}/ema", {"bars": BARS, "parameters": {"time_period": 3, "series_type": each}})
        for each in ("spread(5)", inner)
    ]
    assert posted[0].json()["data"] == posted[1].json()["data"]


@pytest.mark.parametrize(
    ("expression", "column", "hint"),
    [
        ("close > spred(5)", 9, "spread"),
        ("spread(1)", 8, "2"),
        ("spread(5, 6)", 11, "length"),
        ("spread(nothing=1)", 8, "length"),
    ],
)
async def test_a_mistake_in_a_call_of_it_is_shown_at_its_place(ann: Person, expression: str, column: int, hint: str) -> None:
    await ann.save(**SPREAD)
    (error,) = (await ann.post("/api/v1/expressions/validate", {"expression": expression})).json()["errors"]
    assert error["column"] == column
    assert hint in f"{error['msg']} {error['suggestion']}"


async def test_calls_of_long_ones_are_bounded_together(ann: Person) -> None:
    await ann.save(name="long", expression=" + ".join([f"({' + '.join(['close'] * 40)})"] * 3))
    fits = {"expression": "long() + long()", "symbol": "AAPL"}
    assert (await ann.post("/api/v1/expressions/evaluate", fits)).status_code == 200
    answer = await ann.post("/api/v1/expressions/evaluate", {**fits, "expression": " + ".join(["long()"] * 3)})
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "expression_too_complex")


async def test_how_long_a_call_is_written_out_is_known_before_it_is(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the product of two sizes; and whatever calls one's own is read where it keeps nobody waiting."""
    read_on: dict[bool, bool] = {}

    def watched(body: bytes, functions: Functions) -> dict[str, Any]:
        read_on[functions is FUNCTIONS_BY_NAME] = threading.current_thread() is threading.main_thread()
        return validation(body, functions)

    monkeypatch.setattr(expressions, "validation", watched)
    monkeypatch.setattr(parse, "with_source", None)
    await ann.save(name="much", expression=" + ".join([f"({' + '.join(['source'] * 14)})"] * 16))
    series = " + ".join([f"({' + '.join(['high'] * 15)})"] * 16)
    answer = (await ann.post("/api/v1/expressions/validate", {"expression": f"much({series})"})).json()
    assert [error["type"] for error in answer["errors"]] == ["expression_too_complex"]
    assert read_on == {True: True, False: False}


async def test_one_of_any_series_takes_the_input_of_its_callers_choice(ann: Person) -> None:
    await ann.save(name="hump", expression="(source + source[-1]) / n - sma(source, 3)", parameters=[{**LENGTH, "name": "n"}])
    entry = (await ann.get(f"{BASE}?type=custom")).json()["data"][0]
    assert (entry["inputs"], [parameter["name"] for parameter in entry["parameters"]]) == (["series_type"], ["n", "series_type"])
    for series, same in (("close", "close"), ("open[-1]", "open[-1]"), ("rsi(5)", "rsi(5)"), ("hump(close, 2)", None)):
        own = await ann.values(f"{BASE}/hump?symbol=AAPL&limit=200&n=2&series_type={series}")
        inner = same or "((close + close[-1]) / 2 - sma(close, 3))"
        body = {"expression": f"({inner} + {inner}[-1]) / 2 - sma({inner}, 3)", "symbol": "AAPL", "limit": 200}
        assert own == [row["value"] for row in (await ann.post("/api/v1/expressions/evaluate", body)).json()["data"]]
        called = {**body, "expression": f"hump({series}, 2)"}
        assert own == [row["value"] for row in (await ann.post("/api/v1/expressions/evaluate", called)).json()["data"]]


async def test_its_lag_and_that_of_its_input_may_be_longer_together_than_one_may_be(ann: Person) -> None:
    await ann.save(name="before", expression="source[-60000]")
    assert set(await ann.values(f"{BASE}/before?symbol=AAPL&series_type=close[-60000]")) == {None}
    assert set(await ann.values(f"{BASE}/sma?symbol=AAPL&series_type=before(close[-60000])")) == {None}


async def test_one_that_is_too_costly_is_refused_where_it_is_asked_for(ann: Person) -> None:
    await ann.save(name="dear", expression="+".join(f"percentrank(close,{60_000 + at})" for at in range(3)))
    for query, loc in (("dear?", ["query"]), ("sma?series_type=dear()&", ["query", "series_type"])):
        for explain in ("false", "true"):
            answer = await ann.get(f"{BASE}/{query}symbol=AAPL&explain={explain}")
            assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc), (query, explain)


async def test_calls_of_calls_are_bounded_in_depth(ann: Person) -> None:
    await ann.save(name="deep", expression=" + ".join(["source"] * 60))
    for count, status in ((1, 200), (2, 422), (40, 422)):
        body = {"expression": "deep(" * count + "close" + ")" * count, "symbol": "AAPL"}
        assert (await ann.post("/api/v1/expressions/evaluate", body)).status_code == status


# ----- whose they are, and who may have some


async def test_nobody_elses_is_seen_or_used(ann: Person, bob: Person) -> None:
    await ann.save(**SPREAD)
    for method, path in (("GET", f"{CUSTOM}/spread"), ("DELETE", f"{CUSTOM}/spread"), ("GET", f"{BASE}/spread?symbol=AAPL")):
        assert (await bob(method, path)).status_code == 404
    assert (await bob("PUT", f"{CUSTOM}/spread", json={"expression": "close"})).status_code == 404
    assert (await bob.post(f"{BASE}/spread", {"bars": BARS})).status_code == 404
    assert (await bob.get(CUSTOM)).json()["data"] == []
    assert (await bob.get(f"{BASE}/rsi?symbol=AAPL&series_type=spread()")).status_code == 422
    assert (await bob.post("/api/v1/expressions/evaluate", {"expression": "spread()", "symbol": "AAPL"})).status_code == 422
    await bob.save(name="spread", expression="high - low")
    assert await ann.values(f"{BASE}/spread?symbol=AAPL&limit=50") != await bob.values(f"{BASE}/spread?symbol=AAPL&limit=50")


async def test_a_plan_without_them_saves_and_uses_none_but_what_was_saved_can_be_seen_and_deleted(ann: Person) -> None:
    await ann.save(**SPREAD)
    ann.entitlements = NO_CUSTOM
    refused = [
        await ann.post(CUSTOM, {"name": "other", "expression": "close"}),
        await ann("PUT", f"{CUSTOM}/spread", json={"expression": "close"}),
        await ann.get(f"{BASE}/spread?symbol=AAPL"),
        await ann.post(f"{BASE}/spread", {"bars": BARS}),
    ]
    assert [(answer.status_code, answer.json()["required_tier"]) for answer in refused] == [(403, "expert")] * 4
    assert (await ann.get(f"{BASE}/rsi?symbol=AAPL&series_type=spread()")).status_code == 422
    assert len((await ann.get(BASE)).json()["data"]) == len(CATALOGUE)
    assert (await ann.get(f"{CUSTOM}/spread")).status_code == 200
    assert (await ann("DELETE", f"{CUSTOM}/spread")).status_code == 204


async def test_nothing_that_a_plan_lacks_is_reached_through_one(ann: Person) -> None:
    await ann.save(name="mine", expression="macd().signal")
    ann.entitlements = ALL.model_copy(update={"indicators": ("sma",)})
    answer = await ann.get(f"{BASE}/mine?symbol=AAPL")
    assert (answer.status_code, "macd" in answer.json()["detail"]) == (403, True)
    assert (await ann.post(CUSTOM, {"name": "other", "expression": "rsi(14)"})).status_code == 403
    await ann.save(name="fine", expression="sma(close, 5)")
    assert (await ann.get(f"{BASE}/fine?symbol=AAPL")).status_code == 200


# ----- copies, and outages


async def test_no_answer_that_rests_on_ones_own_is_tagged_to_be_kept(ann: Person) -> None:
    await ann.save(**SPREAD)
    for query in ("spread?symbol=AAPL", "rsi?symbol=AAPL&series_type=spread()", "spread?symbol=AAPL&format=csv"):
        answer = await ann.get(f"{BASE}/{query}")
        assert (answer.status_code, "surrogate-key" in answer.headers) == (200, False)
    assert "surrogate-key" in (await ann.get(f"{BASE}/rsi?symbol=AAPL&series_type=sma(close, 5)")).headers


async def test_a_screen_by_ones_own_is_not_kept(ann: Person, bob: Person, app: FastAPI) -> None:
    app.state.results.min_cost_s = 0
    await ann.save(name="mine", expression="close > 0")
    await bob.save(name="mine", expression="close < 0")
    for _ in range(2):
        found = [(await one.post("/api/v1/screener", {"expression": "mine()"})).json() for one in (ann, bob)]
        assert [screen["matched"] for screen in found] == [5, 0]


async def test_a_batch_of_ones_own_is_not_kept(ann: Person, bob: Person, app: FastAPI) -> None:
    app.state.results.min_cost_s = 0
    for person, expression in ((ann, "close"), (bob, "open")):
        await person.save(name="mine", expression=expression)
    for item in ({"indicator": "mine"}, {"indicator": "max", "parameters": {"time_period": 2, "series_type": "mine()"}}):
        body = {"constructs": [{"symbol": "AAPL", "limit": 3, "indicators": [item]}]}
        answers = [[(await person.post(f"{BASE}/batch", body)).content for person in (ann, bob)] for _ in range(3)]
        assert answers == [answers[0]] * 3
        assert answers[0][0] != answers[0][1]


async def test_two_users_with_one_name_each_get_their_own_through_the_gateway(
    app: FastAPI, redis_url: str, nats_url: str
) -> None:
    async with two_users(app, redis_url, nats_url) as (gateway, ann, bob):
        for headers, expression in ((ann, "close"), (bob, "open")):
            saved = await gateway.post(CUSTOM, json={"name": "mine", "expression": expression}, headers=headers)
            assert saved.status_code == 201, saved.text

        async def values(path: str, headers: dict[str, str]) -> tuple[list[Any], str]:
            answer = await gateway.get(path, headers=headers)
            assert answer.status_code == 200, answer.text
            return [row["value"] for row in answer.json()["data"]], answer.headers["x-cache"]

        async def kept() -> bool:
            return (await values(f"{BASE}/rsi?symbol=AAPL&limit=9", ann))[1] == "HIT"

        await until(kept, what="the gateway keeps what is everybody's")
        for path in (f"{BASE}/mine?symbol=AAPL&limit=9", f"{BASE}/sma?symbol=AAPL&limit=9&order=desc&series_type=mine()"):
            first = [await values(path, headers) for headers in (ann, bob)]
            again = [await values(path, headers) for headers in (ann, bob)]
            assert first == again
            assert first[0] != first[1]
            assert {cache for _, cache in first} == {"MISS"}
        await gateway.put(f"{CUSTOM}/mine", json={"expression": "close * 2"}, headers=ann)
        path = f"{BASE}/mine?symbol=AAPL&limit=9"
        assert (await values(path, ann))[0] != (await values(path, bob))[0]
        assert '"day"' not in (await gateway.get(CUSTOM, headers=ann)).headers["ratelimit"], "a list of one's own spends no quota"


@asynccontextmanager
async def two_users(
    app: FastAPI, redis_url: str, nats_url: str
) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str], dict[str, str]]]:
    """A gateway before the service, and the headers of two users of one tier."""
    people = Origin()
    async with (
        EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus,
        serving(app) as indicators,
        serving(people) as others,
    ):
        await bus.streams.declare("KALPI_AUTH", ["kalpi.auth.>"], max_age_s=3600, max_bytes=64 << 20)
        settings = settings_for(others, redis_url, nats_url, indicator_urls=(indicators,))
        async with running(create_gateway(settings)) as gateway:
            yield gateway, people.new_person("expert")[0], people.new_person("expert")[0]


async def test_without_postgres_only_ones_own_are_away(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": SecretStr("postgresql://u:p@127.0.0.1:1/x")})
    async with running(create_app(nowhere)) as client:
        ann = Person(client)
        assert (await ann.get(f"{BASE}/rsi?symbol=AAPL&series_type=sma(close, 5)")).status_code == 200
        assert (await ann.post(f"{BASE}/ema", {"bars": BARS, "parameters": {"time_period": 3}})).status_code == 200
        assert (await ann.post("/api/v1/expressions/evaluate", {"expression": "rsi(5)", "symbol": "AAPL"})).status_code == 200
        catalogue = await ann.get(BASE)
        assert (len(catalogue.json()["data"]), catalogue.headers["x-kalpi-incomplete"]) == (len(CATALOGUE), "custom")
        for method, path, body in (
            ("GET", CUSTOM, None),
            ("POST", CUSTOM, SPREAD),
            ("PUT", f"{CUSTOM}/spread", {"expression": "close"}),
            ("DELETE", f"{CUSTOM}/spread", None),
            ("GET", f"{BASE}/spread?symbol=AAPL", None),
            ("GET", f"{BASE}/rsi?symbol=AAPL&series_type=spread()", None),
            ("GET", f"{BASE}?type=custom", None),
        ):
            answer = await ann(method, path, json=body)
            assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), path
        assert (await ann.get("/health/ready")).status_code == 200
        health = (await ann.get("/health")).json()
        assert (health["status"], health["dependencies"]["data-service"]) == ("degraded", "ok")
        assert health["dependencies"]["postgres"] != "ok"
