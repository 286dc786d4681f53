"""What sets the characters of one text right: broken encodings, and characters nobody can see."""

import re

import ftfy
from ftfy.badness import MOJIBAKE_CATEGORIES

# Letters of living languages on their own; ftfy finds them bad only next to one of the others.
_INNOCENT = {"common", "c1", "lower_common", "upper_common"}
_TELLTALE = "".join(ranges for name, ranges in MOJIBAKE_CATEGORIES.items() if name not in _INNOCENT)
MAYBE_BROKEN = (
    rf"[{_TELLTALE}][^\x00-\x7f]|[^\x00-\x7f][{_TELLTALE}]|[\x80-\x9f]|[ÂÃŒœ][^A-Za-z]|[вВ][Ђ‚]|ВЂ"
)
"""RE2: holds wherever `ftfy.badness.is_bad` does, and on few other texts."""

# ftfy undoes `ÂÂÂ…Â©` one letter at a time: 1,600 letters took it 1.2 CPU-seconds, growing with
# the square (6.3.1). So it is handed pieces, never more than a book chapter, and no such runs.
PIECE_LENGTH = 500
LONGEST_REPAIRED = 20_000
ONION = re.compile("[ÂВΒ¬┬]{17}")

EMOJI = (
    "\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
"""Blocks that hold emoji (emoji-data.txt 17.0), as ranges of a character class."""

JOINED_SCRIPTS = "\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc"
"""Arabic and its neighbours, the scripts of India, Myanmar, Khmer, Mongolian: there U+200C and
U+200D choose the form of a letter, and words without them are misspelt (UAX #31, section 2.3)."""

NEVER_VISIBLE = (
    r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
    "\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    "\ufffe\uffff\U0001d173-\U0001d17a"
)
SOMETIMES_VISIBLE = "\u200c\u200d\ufe0e\ufe0f\U000e0000-\U000e007f"

INVISIBLE = re.compile(
    "(\U0001f3f4[\U000e0030-\U000e007a]{2,6}\U000e007f)"  # flags of England, Scotland, Wales
    f"|[{NEVER_VISIBLE}\U000e0000-\U000e007f]"
    f"|(?<![{JOINED_SCRIPTS}])\u200c"
    f"|(?<![{JOINED_SCRIPTS}{EMOJI}\ufe0f\U000e007f])\u200d"
    f"|(?<=[{EMOJI}\ufe0f\U000e007f])\u200d(?![{EMOJI}])"
    f"|(?<![{EMOJI}0-9#*])[\ufe0e\ufe0f]"
    "|(?<=[0-9#*])[\ufe0e\ufe0f](?!\u20e3)"
)


def repair_encoding(text: str) -> str:
    """Return `text` with UTF-8 that was read as something else (`â€™`) put right.

    Only where ftfy finds the text bad. Texts of more than `LONGEST_REPAIRED` characters, and
    those made to keep a repairer busy, are returned as they are.
    """
    if len(text) > LONGEST_REPAIRED or ONION.search(text):
        return text
    if len(text) <= PIECE_LENGTH:
        return ftfy.fix_encoding(text)
    # A piece ends at a space or, in writing without spaces, where the next piece must begin.
    pieces = re.findall(rf".{{1,{PIECE_LENGTH}}}(?: |$)|.{{{PIECE_LENGTH}}}", text, re.DOTALL)
    return "".join(ftfy.fix_encoding(piece) for piece in pieces)


def remove_invisible(text: str) -> str:
    """Return `text` without control, zero-width and direction-setting characters.

    What makes an emoji (joiners between emoji, variation selectors, keycaps, the tags of flags)
    and the joiners that scripts such as Persian or Malayalam are spelt with, stay.
    """
    return INVISIBLE.sub(r"\1", text)
