"""What is shown to others is seen whole, in every script, and nothing that is not seen is in it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.display import displayable

NAMES = (
    "Analytical Engines",
    "Søren & Ångström, Zürich (№ 1)",
    "Đặng Thị Hồng",
    unicodedata.normalize("NFD", "Đặng Thị Hồng"),
    "Łódź — Ελλάδα · Україна",
    "شركة النور",
    "مُحَمَّد",
    "می\u200cخواهم",  # Persian: the prefix does not join
    "کتاب\u200cخانه\u200cها",
    "בְּרֵאשִׁית",
    "श्रीमान्\u200cजी",
    "ශ්\u200dරී ලංකා",  # Sri Lanka: the conjunct is made with a joiner
    "র\u200d্যাব",  # Bengali: the joiner comes before the virama
    "അവന്\u200d",  # Malayalam: a chillu as it was once written, at the end
    "ಸಾಫ್ಟ್\u200cವೇರ್",
    "ภาษาไทย",
    "ភាសាខ្មែរ",
    "မြန်မာ",
    "བོད་ཡིག",
    "ᠮᠣᠩᠭᠣᠯ",
    "ᠨᠢᠭ\u180eᠠ",  # Mongolian: a vowel stands apart
    "한국어",
    unicodedata.normalize("NFD", "한국어"),
    "株式会社\u3000東京",
    "葛\U000e0100城",  # a variant of the ideograph
    "አማርኛ",
    "👩\u200d💻 👨🏽\u200d👩🏽\u200d👧 ❤\ufe0f\u200d🔥 🏳\ufe0f\u200d🌈 1\ufe0f⃣ 🇮🇷",
    "🙂\u200d\u2194\ufe0f #\ufe0f⃣ ‼\ufe0f ©\ufe0f 〽\ufe0f 東京、\ufe00",
    "2 × 3 ≤ 7 € ½",
)
OVERRIDES = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTEXTUAL = "\u200c\u200d\u180e"
SELECTORS = [chr(one) for one in (*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))]
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0\ufff0\U000e0000\U000e01f0"
# what is of these categories and seen by itself
SEEN = st.characters(
    categories=("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Po", "Sm", "Sc", "So"),
    exclude_characters=f"{BLANK}{''.join(SELECTORS)}",
)
UNSEEN = st.one_of(
    st.characters(categories=("Cc", "Cf", "Cs", "Co", "Zl", "Zp"), exclude_characters=CONTEXTUAL),
    st.sampled_from(OVERRIDES + BLANK),
)
LATIN = st.text(st.characters(codec="latin-1", categories=("Lu", "Ll", "Zs")), min_size=1)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_worlds_scripts_are_taken_as_they_are(name: str) -> None:
    assert displayable(name) == name


@given(st.text(st.one_of(SEEN, st.just(" ")), max_size=64).filter(lambda text: not text.isspace()))
def test_whatever_is_made_of_what_is_seen_is_taken(text: str) -> None:
    assert displayable(text) == text


@given(st.text(SEEN, max_size=20), UNSEEN, st.text(SEEN, max_size=20))
def test_what_is_not_seen_is_refused_wherever_it_stands_and_by_its_name(before: str, unseen: str, after: str) -> None:
    with pytest.raises(ValueError, match=rf"^U\+{ord(unseen):04X}\b.* is not seen"):
        displayable(before + unseen + after)


@given(LATIN, st.sampled_from([*CONTEXTUAL, *SELECTORS]), LATIN)
def test_between_latin_letters_nothing_makes_two_names_that_look_like_one(before: str, unseen: str, after: str) -> None:
    for text in (before + unseen + after, before + unseen, unseen + after):
        with pytest.raises(ValueError, match="is not seen"):
            displayable(text)


@given(st.sampled_from("!\"$%&'()+,-./:;<=>?@[]^_{|}~–—’…"), st.sampled_from(SELECTORS))
def test_behind_a_sign_that_has_no_variants_a_selector_would_make_two_names_that_look_like_one(sign: str, selector: str) -> None:
    with pytest.raises(ValueError, match="is not seen"):
        displayable(f"Acme Inc{sign}{selector}")


@given(st.sampled_from(NAMES), st.sampled_from([*CONTEXTUAL, *SELECTORS]), st.data())
def test_a_joiner_or_selector_never_comes_twice_in_a_row(name: str, unseen: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name)))
    with pytest.raises(ValueError, match="is not seen"):
        displayable(name[:place] + 2 * unseen + name[place:])


@pytest.mark.parametrize("text", [" ", "\u00a0", "\u3000 \u2003", "\t"])
def test_nothing_but_spaces_is_no_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"spaces|not seen"):
        displayable(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Acme\u202egnp.exe", r"U\+202E \(RIGHT-TO-LEFT OVERRIDE\)"),
        ("Ac\u200bme", r"U\+200B \(ZERO WIDTH SPACE\)"),
        ("a\x00b", r"U\+0000 is"),
        ("a\nb", r"U\+000A is"),
        ("می\u200c", r"U\+200C"),
        ("a\u200cم", r"U\+200C"),
        ("🏴\U000e0067\U000e0062", r"U\+E0067"),
        ("💻\ufe0f\ufe01", r"U\+FE01"),
        ("א\ufe00", r"U\+FE00"),
        ("💻\u200d", r"U\+200D"),
    ],
)
def test_the_refusal_names_the_character(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        displayable(text)


def test_what_is_empty_is_taken() -> None:
    assert displayable("") == ""
