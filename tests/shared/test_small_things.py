"""Identifiers, days, subjects and merged documents."""

import os
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.days import Day
from shared.ids import new_id_text, uuid7
from shared.openapi import merge_documents
from shared.subjects import SYMBOL_PATTERN, bars_subject

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.integers(min_value=0, max_value=10**12), st.binary(min_size=10, max_size=10))
def test_a_uuid7_holds_its_time_its_version_and_its_variant(milliseconds: int, tail: bytes) -> None:
    made = uuid7(lambda: datetime.fromtimestamp(milliseconds / 1000, UTC), lambda _: tail)
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert abs(int(made.int >> 80) - milliseconds) <= 1


def test_an_id_as_text_is_a_uuid7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id_text() for _ in range(500)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == len(made)
    for text in made:
        parsed = UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 7, RFC_4122)
        assert before <= parsed.int >> 80 <= after


def test_uuid7s_sort_by_the_time_they_were_made() -> None:
    made = [uuid7(lambda at=at: START + timedelta(milliseconds=at), os.urandom) for at in range(100)]  # type: ignore[misc]
    assert made == sorted(made)


@pytest.mark.parametrize("strict", [True, False])
@given(day=st.dates())
def test_a_day_is_read_as_it_is_written(day: date, strict: bool) -> None:
    assert TypeAdapter(Day).validate_python(day.isoformat(), strict=strict) == day


@pytest.mark.parametrize(
    "sent",
    [
        "0",
        "86400",
        "20131200",
        "20130102",
        0,
        86400,
        -86400.0,
        True,
        None,
        "",
        "2013-02-30",
        "2013-W01-1",
        "2013-1-2",
        "2013-01-02T00:00",
    ],
)
def test_a_number_is_no_day_and_nothing_else_is(sent: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Day).validate_python(sent)


@given(st.from_regex(SYMBOL_PATTERN, fullmatch=True))
def test_a_symbol_travels_in_one_token_of_a_subject_and_comes_back(symbol: str) -> None:
    subject = bars_subject(symbol)
    assert subject.count(".") == bars_subject("A").count(".")
    assert subject.rpartition(".")[2].replace("~", ".") == symbol


@pytest.mark.parametrize("text", ["", "aapl", "A" * 33, "*", ">", "A B", "..", "A\n"])
def test_what_is_no_symbol_is_no_subject(text: str) -> None:
    with pytest.raises(ValueError, match="not a symbol"):
        bars_subject(text)


def _document(path: str, schema: dict[str, object]) -> dict[str, object]:
    return {"paths": {path: {"get": {}}}, "components": {"schemas": {"Thing": schema}}}


def test_documents_merge_without_their_private_paths() -> None:
    documents = {"a": _document("/api/v1/a", {}), "b": _document("/internal/v1/b", {})}
    merged = merge_documents(documents, title="T", version="1", description="")
    assert list(merged["paths"]) == ["/api/v1/a"]
    assert merged["paths"]["/api/v1/a"]["get"]["security"]


def test_documents_that_contradict_each_other_do_not_merge() -> None:
    with pytest.raises(ValueError, match="serves /api/v1/a"):
        merge_documents({"a": _document("/api/v1/a", {}), "b": _document("/api/v1/a", {})}, title="", version="", description="")
    documents = {"a": _document("/api/v1/a", {"type": "string"}), "b": _document("/api/v1/b", {"type": "object"})}
    with pytest.raises(ValueError, match="schema Thing"):
        merge_documents(documents, title="", version="", description="")
