"""The form of API keys: what a typo does, and what does not get through."""

import hashlib
import os
import re

from hypothesis import given
from hypothesis import strategies as st

from shared.api_keys import digest, is_well_formed, new_api_key

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY = new_api_key(os.urandom)


def test_a_new_key_has_the_documented_form() -> None:
    assert re.fullmatch(r"kalpi_live_[0-9A-Za-z]{36}", KEY)
    assert is_well_formed(KEY)


def test_the_form_is_frozen() -> None:
    """Keys in the hands of users: this one, made from fixed bytes, must stay valid for ever."""
    key = new_api_key(lambda n: bytes(range(n)))
    assert key == "kalpi_live_0123456789ABCDEFGHIJKLMNOPQRST4NapSA"


def test_no_two_keys_are_alike() -> None:
    assert len({new_api_key(os.urandom) for _ in range(1000)}) == 1000


def test_bytes_that_would_bias_the_alphabet_are_drawn_again() -> None:
    drawn = iter([bytes([255] * 30), bytes([248] * 29) + b"\x00", bytes(29)])
    assert new_api_key(lambda _n: next(drawn)).startswith("kalpi_live_" + "0" * 30)


@given(position=st.integers(0, 35), replacement=st.sampled_from(ALPHABET))
def test_any_single_wrong_character_is_noticed(position: int, replacement: str) -> None:
    """CRC-32 finds every burst of up to 32 bits, so every substitution of one character."""
    at = len("kalpi_live_") + position
    typed = KEY[:at] + replacement + KEY[at + 1 :]
    assert is_well_formed(typed) == (typed == KEY)


@given(st.text(max_size=60))
def test_arbitrary_text_is_refused_quietly(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed("kalpi_live_" + text)


def test_near_misses_are_refused() -> None:
    for text in ("", KEY[:-1], KEY + "0", KEY.upper(), " " + KEY, KEY + "\n", KEY.replace("live", "test"), KEY[:-1] + "é"):
        assert not is_well_formed(text), text


def test_the_digest_is_sha256_in_hex() -> None:
    assert digest(KEY) == hashlib.sha256(KEY.encode()).hexdigest()
