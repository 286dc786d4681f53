"""Tests of the rows of cleaned_feedback."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_platform.cleaning.posts import clean_posts, scored_text_hash

SCHEMA = pa.schema(
    [
        ("feedback_id", pa.string()),
        ("content_hash", pa.string()),
        ("feed", pa.string()),
        ("posted_at", pa.timestamp("us", tz="UTC")),
        ("body_clean", pa.string()),
        ("language", pa.string()),
        ("language_confidence", pa.float64()),
        ("duplicate_of", pa.string()),
        ("word_count", pa.int32()),
        ("was_repaired", pa.bool_()),
        ("scored_text_hash", pa.string()),
    ]
)


def raw_posts(*posts: dict[str, Any]) -> pa.Table:
    defaults = {
        "feed": "airlines",
        "content_hash": "0" * 64,
        "author_id": None,
        "posted_at": datetime(2026, 1, 2, 12, tzinfo=UTC),
        "title": None,
        "body": None,
        "language_hint": None,
    }
    texts = ("feedback_id", "feed", "content_hash", "author_id", "title", "body", "language_hint")
    schema = pa.schema(
        [*((name, pa.string()) for name in texts), ("posted_at", pa.timestamp("us", tz="UTC"))]
    )
    rows = [{"feedback_id": f"x:{i}", **defaults, **post} for i, post in enumerate(posts)]
    return pa.Table.from_pylist(rows, schema)


def cleaned(*posts: dict[str, Any]) -> list[dict[str, Any]]:
    table = clean_posts(
        raw_posts(*posts), default_languages={"airlines": "en"}, min_campaign_chars=40
    )
    assert table.schema == SCHEMA
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def fingerprint(body_clean: str, language: str) -> str:
    """The documented formula, by other means than the module's."""
    code, text = language.encode(), body_clean.encode()
    return hashlib.sha256(b"%d:%b%d:%b" % (len(code), code, len(text), text)).hexdigest()


@pytest.mark.parametrize(
    ("title", "body", "expected"),
    [
        (None, "Late again", "Late again"),
        ("Never again", "They lost my bag", "Never again. They lost my bag"),
        ("Never again!", "They lost my bag", "Never again! They lost my bag"),
        ('He said "no." ', "They lost my bag", 'He said "no." They lost my bag'),
        ("Never again", None, "Never again"),
        ("Never again", " \n", "Never again"),
        ("  ", "Late", "Late"),
        (None, None, ""),
    ],
)
def test_title_and_body_become_one_text(title: str | None, body: str | None, expected: str) -> None:
    assert cleaned({"title": title, "body": body})[0]["body_clean"] == expected


def test_a_row_says_all_there_is_to_say() -> None:
    first, copy = cleaned(
        {
            "author_id": "a",
            "body": "@united Itâ€™s late &amp; I am <b>so</b> tired 😀 - https://t.co/x",
        },
        {"author_id": "a", "body": "It's late & I am so tired 😀", "language_hint": "de"},
    )
    assert first["body_clean"] == "It's late & I am so tired 😀 -"
    assert first["was_repaired"] is True
    assert first["word_count"] == 6
    assert first["language"] == "en"
    assert first["language_confidence"] > 0.5
    assert first["duplicate_of"] is None
    assert first["content_hash"] == "0" * 64
    assert copy["duplicate_of"] == "x:0"
    assert copy["language"] == "de"
    assert copy["language_confidence"] is None


def test_a_feed_without_a_default_language_stays_undetermined() -> None:
    rows = cleaned({"body": "ok"}, {"body": "ok", "feed": "other"})
    assert [row["language"] for row in rows] == ["en", "und"]


def test_a_day_without_posts_has_the_same_columns() -> None:
    assert cleaned() == []


def test_chunked_columns_keep_their_rows_together() -> None:
    raw = pa.concat_tables(
        [raw_posts({"feedback_id": str(i), "body": f"@a n{i}"}) for i in range(9)]
    )
    table = clean_posts(raw, default_languages={}, min_campaign_chars=40)
    assert table["feedback_id"].to_pylist() == [str(i) for i in range(9)]
    assert table["body_clean"].to_pylist() == [f"n{i}" for i in range(9)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["en", "und"])), max_size=6))
def test_an_auditor_can_recompute_the_hash(pairs: list[tuple[str, str]]) -> None:
    texts, languages = [text for text, _ in pairs], [language for _, language in pairs]
    hashes = scored_text_hash(pa.array(texts, pa.string()), pa.array(languages, pa.string()))
    assert hashes.to_pylist() == [fingerprint(*pair) for pair in pairs]


def test_the_hash_of_the_row_is_of_the_text_in_the_row() -> None:
    row = cleaned({"body": "RT @a: Das war nichts 😀", "language_hint": "de-AT"})[0]
    assert row["scored_text_hash"] == fingerprint("Das war nichts 😀", "de")


def test_neighbouring_fields_cannot_be_confused() -> None:
    hashes = scored_text_hash(pa.array(["1:xab", "xab", None]), pa.array(["en", "en1:", "en"]))
    assert hashes[0] != hashes[1]
    assert hashes[2].as_py() is None


def test_any_number_of_threads_cleans_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_platform.cleaning.posts.FEWEST_ROWS_PER_THREAD", 3)
    raw = raw_posts(
        *({"body": f"Bag {n // 2} lost &amp; found!", "author_id": "a"} for n in range(20))
    )
    ways = [
        clean_posts(raw, default_languages={}, min_campaign_chars=40, threads=threads)
        for threads in (1, 2, 7)
    ]
    assert ways[0].num_rows == 20
    assert ways[0]["duplicate_of"].null_count == 10
    assert all(way.to_pylist() == ways[0].to_pylist() for way in ways)


@settings(deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from("aé1 .!?-–。🙂日@#\n"), max_size=30), max_size=5))
def test_words_are_the_runs_without_a_space_that_hold_a_letter_or_a_digit(
    bodies: list[str],
) -> None:
    for row in cleaned(*({"body": body} for body in bodies)):
        words = [w for w in row["body_clean"].split(" ") if any(c.isalnum() for c in w)]
        assert row["word_count"] == len(words)
