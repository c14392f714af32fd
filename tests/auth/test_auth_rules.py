"""The rules that need no world: what a refresh token is worth, how long to wait, what a password may be."""

import base64
import hashlib
import hmac
import os
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from auth_service.api.schemas.accounts import EmailChange, RegisterBody
from auth_service.api.schemas.passwords import NewPassword, PasswordChange
from auth_service.api.schemas.sessions import LoginForm, RefreshBody
from auth_service.domain import passwords
from auth_service.domain.accounts import NewUser
from auth_service.domain.keys import hint
from auth_service.domain.model import ApiKey, Letter, RefreshToken, Session, User
from auth_service.domain.passwords import LONGEST, SHORTEST, accepted, prepared
from auth_service.domain.refreshing import GRACE, Verdict, digest, first_token, is_alive, judge, successor
from auth_service.domain.sessions import Grant, SessionRules
from shared.api_keys import new_api_key
from shared.errors import InvalidInput
from shared.ids import new_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ages = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=60))


def token(spent_at: datetime | None = None) -> RefreshToken:
    return RefreshToken(new_id(), new_id(), new_id(), "0" * 64, NOW, spent_at)


@given(age=ages, following=st.booleans())
def test_an_unspent_token_rotates_whatever_its_age(age: timedelta, following: bool) -> None:
    assert judge(token(), token() if following else None, NOW + age) is Verdict.ROTATE


@given(since=ages)
def test_a_spent_token_repeats_within_the_grace_and_is_reuse_after_it(since: timedelta) -> None:
    verdict = judge(token(spent_at=NOW), token(), NOW + since)
    assert verdict is (Verdict.REPEAT if since <= timedelta(seconds=10) else Verdict.REUSE)


@given(since=ages, used_after=ages)
def test_a_spent_token_whose_successor_was_used_is_always_reuse(since: timedelta, used_after: timedelta) -> None:
    assert judge(token(spent_at=NOW), token(spent_at=NOW + used_after), NOW + since) is Verdict.REUSE


def test_a_spent_token_without_a_successor_is_reuse() -> None:
    assert judge(token(spent_at=NOW), None, NOW) is Verdict.REUSE
    assert timedelta(seconds=10) == GRACE


@given(st.binary(min_size=32, max_size=64), st.text(max_size=100))
def test_a_successor_is_the_same_for_the_same_key_and_token_alone(key: bytes, spent: str) -> None:
    assert successor(key, spent) == successor(key, spent)
    assert len({spent, successor(key, spent), successor(key + b"x", spent), successor(key, spent + "x")}) == 4
    raw = hmac.digest(key, b"refresh-successor:" + spent.encode(), "sha256")
    assert base64.urlsafe_b64decode(successor(key, spent) + "=") == raw


def test_a_first_token_carries_256_bits_and_is_stored_as_their_digest() -> None:
    first = first_token(os.urandom)
    assert len(base64.urlsafe_b64decode(first + "=")) == 32
    assert digest(first) == hashlib.sha256(first.encode()).hexdigest()


def test_a_session_lives_until_it_expires_or_is_revoked() -> None:
    session = Session(new_id(), new_id(), new_id(), NOW, NOW + timedelta(days=1))
    assert is_alive(session, NOW)
    assert not is_alive(session, session.expires_at)
    assert not is_alive(replace(session, revoked_at=NOW), NOW)


@given(st.text(alphabet=string.printable + "äöü😀", min_size=SHORTEST - 2, max_size=LONGEST - 2))
def test_every_long_enough_password_that_is_not_common_is_taken(password: str) -> None:
    assert accepted(f"ü {password}") == f"ü {password}"


@pytest.mark.parametrize("password", ["", "short", "1234567", "x" * 257, "ﬁ" * 200])
def test_a_password_of_unfit_length_is_refused_by_field(password: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        accepted(password, field="new_password")
    assert refused.value.errors[0]["loc"] == ["body", "new_password"]
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize("password", ["password", "Password1", "12345678", "QWERTYUIOP", "ｐａｓｓｗｏｒｄ"])
def test_a_common_password_is_refused_in_any_case_and_width(password: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        accepted(password)
    assert refused.value.errors[0]["type"] == "password_common"


def test_the_leaked_passwords_are_the_librarys_and_each_is_refused() -> None:
    """Else `make passwords` was forgotten."""
    shipped = (Path(passwords.__file__).parents[1] / "passwords/leaked.txt").read_text().splitlines()
    theirs = {word for word in FREQUENCY_LISTS["passwords"] if len(word) >= SHORTEST}
    assert shipped == sorted(theirs)
    for password in shipped[::500]:
        with pytest.raises(InvalidInput):
            accepted(password.upper())


def test_an_accent_is_the_same_however_it_was_typed() -> None:
    assert prepared("crème brûlée") == prepared("cre\u0300me bru\u0302le\u0301e")


def test_a_hint_shows_the_prefix_and_the_last_four_characters() -> None:
    key = new_api_key(os.urandom)
    assert hint(key) == f"kalpi_live_…{key[-4:]}"


def test_no_secret_is_in_what_a_record_prints() -> None:
    secret, raw = "a-secret-of-the-test", b"a-secret-of-the-test"
    user = User(
        new_id(), new_id(), "ada", "ada@example.com", secret, "free", (), is_active=True, created_at=NOW, password_changed_at=NOW
    )
    records = [
        NewUser("ada", "ada@example.com", secret),
        user,
        ApiKey(new_id(), new_id(), new_id(), "", secret, "…", NOW, None, ()),
        RefreshToken(new_id(), new_id(), new_id(), secret, NOW),
        Grant(secret, secret, 900, "free"),
        SessionRules(raw, timedelta(days=1), 60),
        RegisterBody(username="ada", email="ada@example.com", password=secret),
        LoginForm(username="ada", password=secret),
        PasswordChange(current_password=secret, new_password=secret),
        EmailChange(email="ada@example.com", current_password=secret),
        NewPassword(token=secret, new_password=secret),
        Letter(new_id(), "ada@example.com", "", secret),
        RefreshBody(refresh_token=secret),
    ]
    assert not [record for record in records if secret in repr(record)]
