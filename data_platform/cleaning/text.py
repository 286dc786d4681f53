"""What turns the text of posts into text ready to be scored, a column at a time."""

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data_platform.cleaning.characters import (
    MAYBE_BROKEN,
    NEVER_VISIBLE,
    SOMETIMES_VISIBLE,
    remove_invisible,
    repair_encoding,
)
from data_platform.cleaning.markup import decode_references, strip_tags
from data_platform.normal_form import MAY_CHANGE

# Letters of scripts that put spaces between words. A mention ends, and an e-mail address begins,
# where one of these is followed by another script: "ありがとう@united", "@unitedありがとう".
# Written as blocks: with RE2's classes of scripts, compiling took 12 ms a pattern and a call.
_WORD = (
    "0-9A-Z_a-zªµº\xc0-\xd6\xd8-\xf6\xf8-\u052f\u1c80-\u1c8f\u1d00-\u1fff"
    "\ua640-\ua69f\ua720-\ua7ff\uab30-\uab6f"
)
_NAME = rf"(?:[{_WORD}]+|[\pL\pM\pN_]+)"
_DOMAIN = r"(?:\.[a-z0-9][a-z0-9-]*)*\.[a-z]{2,}"
_SERVER = rf"[@＠][{_WORD}]+(?:[.-]+[{_WORD}]+)*"
HANDLE = rf"[@＠]{_NAME}(?:{_DOMAIN})?(?:{_SERVER})*"
"""RE2: `@united`, `@bob.bsky.social`, `@user@mastodon.social`."""

_SPACE = r"\t-\r\x1c-\x1f\x85" + "\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\u3164\uffa0"
_LINK_CHARACTER = r'[^\s<>"]'
_LINK_END = r"""[^\s<>".,!?;:)\]}'…]"""


class Rule(NamedTuple):
    r"""One thing that cleaning changes.

    Attributes:
        name: what it is about.
        finds: RE2 pattern; a text in which it does not hold is left alone. Cheap, and never
            narrower than what is changed.
        replaces: RE2 pattern of what goes, or a function of one text where a pattern cannot say it.
        by: what comes instead, `\1` for the first group.
    """

    name: str
    finds: str
    replaces: str | Callable[[str], str]
    by: str = ""


MARKUP_RULES = (
    Rule("character references", "&[#A-Za-z]", decode_references),
    Rule("tags", r"<[A-Za-z/!?]|\]\]>", strip_tags),
)
# Few texts in English go through these: only those with a character beyond printable ASCII.
UNUSUAL = r"[^ -~]"
CHARACTER_RULES = (
    Rule("broken encodings", MAYBE_BROKEN, repair_encoding),
    # Thirty are enough for any language (UAX #15, section 13, Stream-Safe Text Format), and
    # composing takes the square of the length of a run: 80,000 took 4.5 CPU-seconds.
    Rule("towers of accents", r"\pM{4}", r"(\pM{30})\pM+", r"\1"),
    Rule("composed characters", MAY_CHANGE, "NFC"),
    Rule("invisible characters", f"[{NEVER_VISIBLE}{SOMETIMES_VISIBLE}]", remove_invisible),
    Rule("odd white space", f"[{_SPACE}]", f"[{_SPACE}]", " "),
    Rule("single quotes", "[‘’‚‛]", "[‘’‚‛]", "'"),
    Rule("double quotes", "[“”„‟«»]", "[“”„‟«»]", '"'),
)
WORDING_RULES = (
    Rule(
        "links",
        r"://|(?i:www\.|pic\.twitter)",
        r"(?i)(?:(?:https?|ftp)://|\bwww\.|\bpic\.twitter\.com/)"
        rf"(?:{_LINK_CHARACTER}*{_LINK_END})?",
        " ",
    ),
    Rule("retweet prefixes", "(?i:RT) +[@＠]", rf"(?:^ *(?i:RT)|\bRT) +{HANDLE} *:?", " "),
    # Nearly all mentions follow a space; without a group to keep, RE2 is five times as fast.
    Rule("mentions", "[@＠]", rf"(?:^| )\.?{HANDLE}", " "),
    Rule("mentions after a sign", "[@＠]", rf"([^{_WORD}]){HANDLE}", r"\1 "),
    Rule("hashtags", "[#＃]", r"(^|[^\pL\pM\pN_])[#＃]+([\pN_]*\pL)", r"\1\2"),
    # The sentiment lexicon's reader does not see a word with four or more marks glued to it.
    Rule("long cries", "[!?]{4}", "([!?]{3})[!?]+", r"\1"),
    Rule("runs of spaces", "  ", "  +", " "),
    Rule("outer spaces", "^ | $", "^ | $", ""),
)
RULES = MARKUP_RULES + CHARACTER_RULES + WORDING_RULES
"""Everything that cleaning changes, in this order."""

ANYTHING_TO_DO = "|".join(f"(?:{rule.finds})" for rule in RULES)
# 14,640 airline tweets settle in two.
ROUNDS = 8
STRUCTURE = f"[<>&@＠#＃{NEVER_VISIBLE}{SOMETIMES_VISIBLE}]"


class CleanedText(NamedTuple):
    """What cleaning made of a column of texts.

    Attributes:
        body_clean: string; null where the text was null.
        was_repaired: bool, never null; true if a broken encoding was put right.
    """

    body_clean: pa.Array
    was_repaired: pa.Array


def clean_text(texts: pa.Array | pa.ChunkedArray) -> CleanedText:
    """Return `texts` without markup, links and mentions, their characters set right (see `RULES`).

    Case, emoji and punctuation stay: the sentiment lexicon reads all three. Null stays null,
    empty stays empty. Cleaning a clean text changes nothing: texts that still change
    (`&amp;lt;b&amp;gt;`, `<<b>i>`) go round again until none does. No text does so for
    ever: every rule shortens it, or turns characters into ones that no rule turns back. What is
    nested deeper than `ROUNDS` was nested on purpose; there the characters that
    markup is made of become spaces, so that the number of rounds does not grow with the depth.

    Args:
        texts: string or large_string; at most 2 GB of text in all.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    body = texts.cast(pa.string())
    was_repaired = pa.repeat(pa.scalar(False), len(body))
    moving = pc.fill_null(pc.match_substring_regex(body, ANYTHING_TO_DO), False)
    finished_rounds = 0
    while pc.any(moving).as_py():
        before = body.filter(moving)
        after = before
        if finished_rounds >= ROUNDS:
            after = pc.replace_substring_regex(after, STRUCTURE, " ")
        after, repaired = _clean_once(after)
        body = pc.replace_with_mask(body, moving, after)
        before_repaired = was_repaired.filter(moving)
        was_repaired = pc.replace_with_mask(was_repaired, moving, pc.or_(before_repaired, repaired))
        goes_on = pc.and_(
            pc.not_equal(after, before), pc.match_substring_regex(after, ANYTHING_TO_DO)
        )
        moving = pc.replace_with_mask(moving, moving, goes_on)
        finished_rounds += 1
    return CleanedText(body, was_repaired)


def _clean_once(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Apply each rule once; the second array tells in which texts an encoding was repaired."""
    was_repaired = pa.repeat(pa.scalar(False), len(texts))
    for rule in MARKUP_RULES:
        texts = _apply(rule, texts)
    unusual = pc.match_substring_regex(texts, UNUSUAL)
    if pc.any(unusual).as_py():
        rows = before = texts.filter(unusual)
        repaired = pa.repeat(pa.scalar(False), len(rows))
        for rule in CHARACTER_RULES:
            rows = _apply(rule, rows)
            if rule.replaces is repair_encoding:
                repaired = pc.not_equal(rows, before)
        texts = pc.replace_with_mask(texts, unusual, rows)
        was_repaired = pc.replace_with_mask(was_repaired, unusual, repaired)
    for rule in WORDING_RULES:
        texts = _apply(rule, texts)
    return texts, was_repaired


def _apply(rule: Rule, texts: pa.Array) -> pa.Array:
    found = pc.match_substring_regex(texts, rule.finds)
    count = pc.sum(found).as_py()
    if not count:
        return texts
    rows = texts if count == len(texts) else texts.filter(found)
    if rule.replaces == "NFC":
        rows = pc.utf8_normalize(rows, "NFC")
    elif isinstance(rule.replaces, str):
        rows = pc.replace_substring_regex(rows, rule.replaces, rule.by)
    else:
        # Row by row: these need look-behind or a table, which RE2 has not, and few rows get here.
        rows = pa.array([rule.replaces(text) for text in rows.to_pylist()], pa.string())
    return rows if count == len(texts) else pc.replace_with_mask(texts, found, rows)
