"""Tests of cleaning text: what goes, what stays, that it ends, and that it ends soon."""

import json
import os
import re
import time
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_platform.cleaning.characters import LONGEST_REPAIRED, MAYBE_BROKEN
from data_platform.cleaning.text import ANYTHING_TO_DO, RULES, clean_text

quick = settings(deadline=None, max_examples=50)


def clean(*texts: str | None) -> list[str | None]:
    cleaned: list[str | None] = clean_text(pa.array(texts, pa.string())).body_clean.to_pylist()
    return cleaned


def test_null_stays_null_and_empty_stays_empty() -> None:
    cleaned = clean_text(pa.array([None, "", "@x ok", None], pa.string()))
    assert cleaned.body_clean.to_pylist() == [None, "", "ok", None]
    assert cleaned.was_repaired.to_pylist() == [False, False, False, False]


@pytest.mark.parametrize(
    "texts",
    [
        pa.array([], pa.string()),
        pa.chunked_array([], pa.string()),
        pa.nulls(2, pa.string()),
        pa.chunked_array([["a"], ["@b", None]], pa.string()),
        pa.array(["a", "<b>"], pa.large_string()),
        pa.array(["skipped", "@b c", "d"]).slice(1),
    ],
)
def test_every_kind_of_column_becomes_one_array_of_its_length(texts: pa.Array) -> None:
    cleaned = clean_text(texts)
    assert isinstance(cleaned.body_clean, pa.Array)
    assert cleaned.body_clean.type == pa.string()
    assert cleaned.was_repaired.type == pa.bool_()
    assert len(cleaned.body_clean) == len(cleaned.was_repaired) == len(texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I &lt;3 you &amp; me", "I <3 you & me"),
        ("it&#39;s &#x27;fine&quot;", "it's 'fine\""),
        ("&amp;amp;amp;lt;3", "<3"),
        ("&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "bold"),
        ("AT&T, R&D, this&not that, &nosuchname;", "AT&T, R&D, this&not that, &nosuchname;"),
        ("a <3 b, 2 < 3, 4 > 3, <grin>", "a <3 b, 2 < 3, 4 > 3, <grin>"),
        ("<p>one</p><p>two<br/>three</p>", "one two three"),
        ("&amp;nosuchname; &amp;T", "&nosuchname; &T"),
        ("un<b>believ</b>able", "unbelievable"),
        ('<a title="5 > 3" href=x>five</a>', "five"),
        ("<<b>i>x", "x"),
        ("a<script>alert('<b>')</script>b<style>p {}</style>c", "a b c"),
        ("<SCRIPT>never closed", "never closed"),
        ("a<!-- not <b> seen -->b", "a b"),
        ("<![CDATA[kept]]>", "kept"),
        ('<span class="h-card">@<span>user</span></span> hi', "hi"),
        ('<a class="mention hashtag" rel="tag">#<span>brand</span></a>', "brand"),
    ],
)
def test_markup_goes_and_its_words_stay(text: str, expected: str) -> None:
    assert clean(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://shop.example/a?b=1 now", "see now"),
        ("see http://t.co/abc, or www.x.example.", "see , or ."),
        ("(https://x.example/a) HTTPS://X.EXAMPLE!!!", "( ) !!!"),
        ("gluedhttps://t.co/abc", "glued"),
        ("look pic.twitter.com/xyz", "look"),
        ("@only_a_mention", ""),
        ("@united thanks", "thanks"),
        (".@united, thanks", ", thanks"),
        ("hi @user@mastodon.social!", "hi !"),
        ("hi @bob.bsky.social.", "hi ."),
        ("(@a) @b/@c", "( ) /"),
        ("write to help@shop.example", "write to help@shop.example"),
        ("andré@shop.example", "andré@shop.example"),
        ("ありがとう@united", "ありがとう"),
        ("@unitedありがとう", "ありがとう"),
        ("RT @user: so true", "so true"),
        ("rt @a: RT @b: so true", "so true"),
        ("so true RT @user: never", "so true never"),
        ("ART @user", "ART"),
        ("#fail #２fail ##twice", "fail ２fail twice"),
        ("we are #1 in C# #", "we are #1 in C# #"),
        ("# #x", "# x"),
        ("@#x", ""),
    ],
)
def test_links_and_mentions_go_and_the_words_of_hashtags_stay(text: str, expected: str) -> None:
    assert clean(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don’t ‘do’ “it” „so“ «là»", 'don\'t \'do\' "it" "so" "là"'),
        ("great!!!!!!", "great!!!"),
        ("what?!?!?!?!", "what?!?"),
        ("so!!! it... is", "so!!! it... is"),
        ("GOOD :-) Bad;", "GOOD :-) Bad;"),
        ("  a\t\nb\u00a0\u3000c\u2028d ", "a b c d"),
        ("cafe\u0301", "café"),
        ("a\u200bb\u00adc\x00d\u202ee\ufeff", "abcde"),
        ("a\ufe0f 1\ufe0f \u200dx", "a 1 x"),
    ],
)
def test_characters_are_set_right(text: str, expected: str) -> None:
    assert clean(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "love it ❤️",
        "👨\u200d👩\u200d👧 👩🏽\u200d⚕️ 🏳️\u200d🌈",
        "1️⃣ #️⃣ *️⃣",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "می\u200cخواهم",
        "ക്\u200d",
        "क्\u200dष",
    ],
)
def test_emoji_and_the_spelling_of_joined_scripts_stay(text: str) -> None:
    assert clean(text) == [text]


def test_a_tower_of_accents_is_cut_to_what_languages_need() -> None:
    assert len(clean("a" + "\u0301\u0323" * 1000)[0] or "") <= 31


@pytest.mark.parametrize(
    ("text", "expected", "repaired"),
    [
        ("Itâ€™s fine", "It's fine", True),
        ("10Î&frac14;s", "10μs", True),
        ("crème brûlée", "crème brûlée", False),
        ("&lt;3 @me", "<3", False),
        ("Â" * 5000 + "©", "Â" * 5000 + "©", False),
    ],
)
def test_only_broken_encodings_are_repaired(text: str, expected: str, repaired: bool) -> None:
    cleaned = clean_text(pa.array([text]))
    assert cleaned.body_clean.to_pylist() == [expected]
    assert cleaned.was_repaired.to_pylist() == [repaired]


def test_a_long_text_is_repaired_piece_by_piece_without_losing_any() -> None:
    assert clean("Itâ€™s fine. " * 200) == [("It's fine. " * 200).strip()]
    words = "naïve " + "é" * 1203 + " Â£5 " + "x" * 700
    assert clean(words) == [words.replace("Â£", "£")]
    too_long = "Itâ€™s " + "x" * LONGEST_REPAIRED
    assert clean(too_long) == [too_long]


def corpus(name: str) -> Path:
    home = os.environ.get("FEEDBACK_TEST_DATA")
    if not home:
        pytest.skip("FEEDBACK_TEST_DATA is not set: the corpora are not part of the project")
    return Path(home) / name


def test_real_broken_texts_are_repaired() -> None:
    cases = json.loads(corpus("text/ftfy_in-the-wild.json").read_text("utf-8"))
    cases = [case for case in cases if case["expect"] == "pass"]
    right = clean(*(case.get("fixed-encoding", case["fixed"]) for case in cases))
    got = clean(*(case["original"] for case in cases))
    wrong = [case["label"] for case, a, b in zip(cases, got, right, strict=True) if a != b]
    assert wrong == []


SUSPECT = re.compile(f"[{''.join(MOJIBAKE_CATEGORIES.values())}]")
telltale = [character for character in map(chr, range(0x2600)) if SUSPECT.match(character)]


@quick
@given(st.text(st.sampled_from([*telltale, "a", "B", " ", "1", "."]), max_size=8))
@example("œ.")
@example("aÂ .")
@example("Ã perturber")
def test_every_text_that_ftfy_finds_bad_is_looked_at(text: str) -> None:
    if is_bad(text):
        looked_at = pc.match_substring_regex(pa.array([text]), MAYBE_BROKEN)
        assert looked_at.to_pylist() == [True]


FRAGMENTS = [
    *("&", "amp;", "lt;", "gt;", "&amp;", "&lt;", "&#38;", "&#x26;", "&#0;", "&#", "64;", "&nbsp;"),
    *("<", ">", "<b>", "</b>", "<p>", "<br/>", "b>", "<script>", "</script>", "<!--", "-->", "<3"),
    *("@", "@a", "＠", "a@b.c", "@a.bc", "#", "#a", "RT ", "rt @a:", "http://", "://", "www.", "x"),
    *("!", "?", "!!!", " ", "\u00a0", "\n", "\t", "\x00", "\x85", "\u200b", "\u200d", "\u200c"),
    *("\ufe0f", "\u20e3", "😀", "❤", "🏽", "🏴", "\U000e0067", "\U000e007f", "1", "é", "e\u0301"),
    *("\u0301", "\u0958", "\u212b", "’", "“", "«", "»", "Ã", "Â", "©", "â€™", "â€œ", "Ã©", "\x9d"),
    *("ï¿½", "Ð¿", "вЂ", "می", "क्", "書", "'", '"', "=", "/", "-", ".", ":", ";", "]]>", "\ufeff"),
]
hostile = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(st.none(), hostile, st.text(max_size=40)), max_size=40))
@example(["&#&#&#&#&#&#&#&#&#&#&#&#53;3;3;3;3;3;3;3;3;3;3;3;"])
@example(["<" * 12 + "b>" * 12])
@example(["&ZeroWidth" * 12 + "Space;" * 12])
def test_cleaning_a_clean_text_changes_nothing(texts: list[str | None]) -> None:
    once = clean_text(pa.array(texts, pa.string()))
    twice = clean_text(once.body_clean)
    assert twice.body_clean.to_pylist() == once.body_clean.to_pylist()
    assert not any(twice.was_repaired.to_pylist())
    assert [text is None for text in texts] == [
        text is None for text in once.body_clean.to_pylist()
    ]


@quick
@given(st.lists(st.one_of(hostile, st.text(max_size=40)), min_size=1, max_size=3))
def test_a_text_is_cleaned_alike_alone_and_among_others(texts: list[str]) -> None:
    assert clean(*texts) == [clean(text)[0] for text in texts]


@quick
@given(st.lists(st.one_of(hostile, st.text(max_size=40)), min_size=10, max_size=30))
def test_no_link_no_mention_and_no_stray_space_is_left(texts: list[str]) -> None:
    for text in clean(*texts):
        assert text is not None
        assert not re.search(r"(?i)https?://", text)
        assert not re.search(r"(?:^|\s)[@＠]\w", text)
        assert not re.search(r"[!?]{4}", text)
        assert text == " ".join(text.split())
        assert unicodedata.is_normalized("NFC", text)
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]", text)


@quick
@given(st.lists(hostile, min_size=10, max_size=30))
def test_no_rule_changes_what_its_finder_does_not_find(texts: list[str]) -> None:
    """The finders are what spares clean rows the work; one too narrow would leave work undone."""
    column = pa.array(texts)
    for rule in RULES:
        if isinstance(rule.replaces, str) and rule.replaces != "NFC":
            changed = pc.replace_substring_regex(column, rule.replaces, rule.by)
            is_found = pc.match_substring_regex(column, rule.finds).to_pylist()
            for found, before, after in zip(is_found, texts, changed.to_pylist(), strict=True):
                assert found or before == after, rule.name


def test_the_finders_together_are_one_valid_pattern() -> None:
    assert pc.match_substring_regex(pa.array(["plain words."]), ANYTHING_TO_DO)[0].as_py() is False


REPEATED = {
    "one letter": "a",
    "an accented letter": "é",
    "escaped ampersands": "&amp;",
    "half escapes": "amp;",
    "half references": "&#",
    "less-than signs": "<",
    "open tags": "<b ",
    "open attributes": "<b '\"",
    "scripts never closed": "<script><style>",
    "comments never closed": "<!--",
    "at signs": "@",
    "mentions of mentions": "@a@\u0301",
    "hash signs": "#",
    "hashed at signs": "@#",
    "retweets": "RT @a:",
    "links": "http://",
    "cries": "?!",
    "spaces": "\u00a0",
    "accents": "\u0301\u0323",
    "joiners": "😀\u200d",
    "broken encodings": "â€™ ",
    "onions": "Â",
}


def cpu_seconds(text: str) -> float:
    column = pa.array([text])
    begin = time.process_time()
    clean_text(column)
    return time.process_time() - begin


@pytest.mark.parametrize("unit", REPEATED.values(), ids=REPEATED.keys())
def test_time_grows_with_the_length_of_a_repetitive_text_and_no_faster(unit: str) -> None:
    small = unit * (200_000 // len(unit))
    seconds = min(cpu_seconds(small) for _ in range(2))
    assert cpu_seconds(small * 2) < 3.5 * seconds + 0.3


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<", "b>"),
        ("&#", "53;3;"),
        ("&ZeroWidth", "Space;"),
        ("<!", "-- x -->"),
        ("RT ", "@a "),
        ("&", "amp;"),
    ],
)
def test_time_does_not_grow_with_the_depth_of_nesting(opening: str, closing: str) -> None:
    def nested(depth: int) -> str:
        return opening * depth + closing * depth

    seconds = min(cpu_seconds(nested(20_000)) for _ in range(2))
    assert cpu_seconds(nested(40_000)) < 3.5 * seconds + 0.3
