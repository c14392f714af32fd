"""Text that is shown to others, as names are: whoever reads it sees all that is in it, in its order.

Refused is what is not seen or is no character of any script: controls, line separators, format characters (Unicode's Cf:
overrides of direction, zero-width spaces, soft hyphens, tags …), fillers that are letters by name, private use. Of what is not
seen by itself, writing needs three, where they change what is seen:

    joiners               U+200C and U+200D at a virama (Devanagari, Bengali, Sinhala, Malayalam …) and between letters of one
                          cursive script (Persian, Urdu, Mongolian …); U+200D between pictures, as emoji are put together
    vowel separator       U+180E between letters of Mongolian
    variation selectors   one behind a picture, a digit, a sign that has variants, or a character of a script that has (CJK …)

RFC 5892, appendix A, has the first rule for names of hosts. Between Latin letters, say, all of them would only make two names
that look like one.
"""

import unicodedata

__all__ = ["displayable"]

_NON_JOINER, _JOINER, _VOWEL_SEPARATOR = "\u200c", "\u200d", "\u180e"
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# default-ignorable, or blank, and of another category (Unicode, DerivedCoreProperties.txt)
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0").union(map(chr, range(0xFFF0, 0xFFF9)))
_IGNORED_PLANE = range(0xE0000, 0xE1000)
_SELECTORS = frozenset(map(chr, (0x180B, 0x180C, 0x180D, 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
_CURSIVE = frozenset({"ARABIC", "SYRIAC", "MANDAIC", "NKO", "MONGOLIAN", "PHAGS-PA", "ADLAM", "HANIFI"})
_WITH_VARIANTS = frozenset({"CJK", "MONGOLIAN", "MYANMAR", "PHAGS-PA"})
# of what is narrow or ASCII (Unicode, emoji-variation-sequences.txt): behind any other a selector is not seen
_SIGNS_WITH_VARIANTS = frozenset("0123456789#*‼⁉")
_ARROW = "\u2194"
"""A sign of mathematics to Unicode, and in emoji a picture: of a head that shakes."""
_VIRAMA = 9
"""The canonical combining class of marks that take a consonant's vowel."""


def displayable(text: str) -> str:
    """The text itself; ValueError that names its first character which would not be seen, or for nothing but spaces."""
    for place, character in enumerate(text):
        if not _is_seen(text[:place], character, text[place + 1 :]):
            name = unicodedata.name(character, "")
            raise ValueError(f"U+{ord(character):04X}{name and f' ({name})'} is not seen where this is read")
    if text.isspace():
        raise ValueError("nothing but spaces")
    return text


def _is_seen(before: str, character: str, after: str) -> bool:
    if character in (_NON_JOINER, _JOINER, _VOWEL_SEPARATOR):
        return _shapes(before, character, after)
    if character in _SELECTORS:
        return _has_variants(before[-1:])
    ignored = character in _UNSEEN or ord(character) in _IGNORED_PLANE
    return not ignored and unicodedata.category(character) not in _REFUSED


def _shapes(before: str, joiner: str, after: str) -> bool:
    """Whether a joiner changes how its neighbours look."""
    following = after[:1]
    if joiner == _VOWEL_SEPARATOR:
        return _script(before[-1:]) == _script(following) == "MONGOLIAN"
    if _is_virama(before[-1:]) or (_category(before[-1:]).startswith("L") and _is_virama(following)):
        return True
    if _script(_without_marks(before)[-1:]) in _CURSIVE:
        return _script(_without_marks(before)[-1:]) == _script(following)
    return joiner == _JOINER and _is_picture(_without_looks(before)[-1:]) and _is_picture(following)


def _has_variants(base: str) -> bool:
    if base.isascii() or base in _SIGNS_WITH_VARIANTS:
        return base in _SIGNS_WITH_VARIANTS
    kind = _category(base)
    if kind.startswith("P"):
        return unicodedata.east_asian_width(base) in {"W", "F"}
    return kind[:1] in {"S", "N"} or (kind == "Lo" and _script(base) in _WITH_VARIANTS)


def _is_virama(character: str) -> bool:
    return bool(character) and unicodedata.combining(character) == _VIRAMA


def _is_picture(character: str) -> bool:
    return _category(character) == "So" or character == _ARROW


def _script(character: str) -> str:
    """Of a letter: the first word of its name."""
    return unicodedata.name(character, "").partition(" ")[0] if _category(character).startswith("L") else ""


def _category(character: str) -> str:
    return unicodedata.category(character) if character else ""


def _without_marks(text: str) -> str:
    while _category(text[-1:]) == "Mn":
        text = text[:-1]
    return text


def _without_looks(text: str) -> str:
    """Before the colour and the variant of its last picture."""
    while text[-1:] in _SKIN_TONES or text[-1:] in _SELECTORS:
        text = text[:-1]
    return text
