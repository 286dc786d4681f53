"""What is taken for normal is: proven for every character and every pair of neighbours that could combine."""

import re
import sys
import unicodedata

from data_platform.normal_form import MAY_CHANGE

PATTERN = re.compile(
    re.sub(r"\\x\{(\w+)\}", lambda found: f"\\U{int(found[1], 16):08x}", MAY_CHANGE)
)


def untouched() -> list[str]:
    return [c for c in map(chr, range(sys.maxunicode + 1)) if not PATTERN.match(c)]


def test_no_character_that_is_left_alone_changes_under_nfc():
    for character in untouched():
        assert unicodedata.is_normalized("NFC", character), hex(ord(character))
        assert unicodedata.combining(character) == 0, hex(ord(character))


def test_no_character_that_is_left_alone_combines_with_one_before_it():
    """Every pair that NFC composes is the decomposition of a character."""
    seconds = {
        decomposition.split()[1]
        for character in map(chr, range(sys.maxunicode + 1))
        if (decomposition := unicodedata.decomposition(character))
        and not decomposition.startswith("<")
        and " " in decomposition
    }
    vowels_and_finals = {f"{n:04X}" for n in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    left_alone = {f"{ord(c):04X}" for c in untouched()}
    assert not left_alone & (seconds | vowels_and_finals)


def test_most_text_of_the_world_is_left_alone():
    for text in (
        "Hello",
        "naïve café €5",
        "Привет",
        "שלום",
        "سلام",
        "こんにちは",
        "你好",
        "안녕",
        "👍🏽❤️",
    ):
        assert not PATTERN.search(text), text
    for text in ("e\u0301", "\u212b", "\u1100\u1161", "か\u3099", "\u0958", "\U0002f800"):
        assert PATTERN.search(text), text
