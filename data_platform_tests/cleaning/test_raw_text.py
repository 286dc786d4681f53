"""Tests of redacting text as it was collected: cleaning makes the same of it, and nothing personal is left."""

import csv

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data_platform.cleaning.markup import decode_references
from data_platform.cleaning.posts import join_title_and_body, without_personal_data
from data_platform.cleaning.raw_text import TextRedactor, redact_originals
from data_platform.cleaning.text import clean_text
from data_platform_tests.cleaning.test_privacy import (
    AS_CONFIGURED,
    EMAIL,
    EVERYTHING,
    PIECES,
    cases,
    find_personal_data,
    unmarked,
)

MARKUP = (
    *("&#64;", "&lt;", "&amp;", "<b>", "</b>", "<a href='mailto:", "'>", ">", '"', "\u200b"),
    *("https://shop.example/", "www.", "RT @ann ", "#", "\u0338", "phone ", "ssn ", "<phone>"),
    *("bsn ", "123-45-6789", "111222333", "x" * 30, "1234567890", "!!!! "),
)
WRITTEN = st.lists(st.sampled_from(PIECES + MARKUP), max_size=14).map("".join)


def redacted(title, body, redaction=EVERYTHING):
    titles, bodies = redact_originals(
        pa.array([title], pa.string()), pa.array([body], pa.string()), redaction
    )
    return titles[0].as_py(), bodies[0].as_py()


def cleaned(title, body):
    """What cleaned_feedback holds of a text, but for what follows from it."""
    joined = join_title_and_body(pa.array([title], pa.string()), pa.array([body], pa.string()))
    text = clean_text(joined)
    ready = without_personal_data(text.body_clean, EVERYTHING)
    return ready[0].as_py(), text.was_repaired[0].as_py()


@settings(deadline=None)
@given(st.none() | WRITTEN, WRITTEN)
def test_cleaning_makes_the_same_of_a_redacted_original(title, body):
    after = redacted(title, body)
    assert cleaned(*after) == cleaned(title, body)
    assert redacted(*after) == after


@settings(deadline=None)
@given(WRITTEN)
def test_nothing_personal_is_left_in_a_redacted_original(body):
    _, after = redacted(None, body)
    for text in (after, decode_references(after), clean_text(pa.array([after])).body_clean[0]):
        assert find_personal_data(str(text), EVERYTHING) == []


@settings(deadline=None)
@given(WRITTEN)
def test_an_original_without_personal_data_stays_as_it_is(body):
    texts = (body, decode_references(body), clean_text(pa.array([body])).body_clean[0].as_py())
    assume(not any(find_personal_data(text, EVERYTHING) for text in texts))
    assert redacted(None, body) == (None, body)


@pytest.mark.parametrize(
    ("title", "body", "expected"),
    [
        ("Refund", f"@ann: mail {EMAIL} &amp; wait", ("Refund", "@ann: mail <email> &amp; wait")),
        (EMAIL, "https://shop.example", ("<email>", "https://shop.example")),
        (None, "mail jane&#64;shop.example, @ann", (None, "mail <email>,")),
        (None, f"<a href='mailto:{EMAIL}'>write</a> to us", (None, "write to us")),
        (None, "<a href='mailto:jane&#64;shop.example'>write</a> to us", (None, "write to us")),
        (None, f"<b title='j&#64;shop.example'>x</b> {EMAIL}", (None, "x <email>")),
        ("Hi", f"https://shop.example/?m={EMAIL} broke", (None, "Hi. broke")),
        ("call", "4155550132", (None, "call. <phone>")),
        (None, None, (None, None)),
        (None, "", (None, "")),
    ],
)
def test_text_keeps_its_markup_unless_that_hides_or_holds_personal_data(title, body, expected):
    assert redacted(title, body, AS_CONFIGURED) == expected


def test_a_broken_encoding_is_still_told_as_repaired():
    title, body = redacted(None, f"I canâ€™t reach {EMAIL}")
    assert body == "I canâ€™t reach <email>"
    assert cleaned(title, body) == ("I can't reach <email>", True)


def test_in_a_column_each_original_is_redacted_as_it_is_by_itself():
    texts = [unmarked(line)[0] for lines in cases().values() for line in lines]
    titles = pa.nulls(len(texts), pa.string())
    _, bodies = redact_originals(titles, pa.array(texts), EVERYTHING)
    assert bodies.to_pylist() == [redacted(None, text)[1] for text in texts]
    changed = sum(a != b for a, b in zip(texts, bodies.to_pylist(), strict=True))
    assert changed > 100


def test_of_real_tweets_only_those_with_personal_data_change(test_data):
    with test_data("airline_tweets.csv").open(encoding="utf-8", newline="") as file:
        texts = pa.array([row["text"] for row in csv.DictReader(file)])
    _, bodies = redact_originals(pa.nulls(len(texts), pa.string()), texts, AS_CONFIGURED)
    pairs = zip(texts.to_pylist(), bodies.to_pylist(), strict=True)
    changed = [(before, after) for before, after in pairs if before != after]
    assert len(changed) == 43
    assert all("<phone>" in after or "<email>" in after or "<ip>" in after for _, after in changed)


def test_another_redaction_has_another_fingerprint():
    same = TextRedactor(EVERYTHING).fingerprint
    assert TextRedactor(EVERYTHING).fingerprint == same != TextRedactor(AS_CONFIGURED).fingerprint
