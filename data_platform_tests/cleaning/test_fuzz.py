"""Texts that are made to keep a matcher busy are cleaned and redacted in a time that grows with their length alone."""

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from data_platform.cleaning.posts import clean_posts
from data_platform.cleaning.privacy import Redaction, redact, redact_text
from data_platform.cleaning.text import clean_text
from data_platform.monitoring.harmless import harmless
from data_platform.sentiment.vader import VaderModel
from data_platform_tests.cleaning.test_posts import raw_posts
from data_platform_tests.examples import examples, within

LENGTH = 200_000
SECONDS = 8.0
EVERYTHING = Redaction(
    frozenset({"email", "phone", "card", "iban", "ip", "national_id"}),
    ("US", "GB", "DE", "FR", "ES", "IT", "NL"),
    ("BR", "DE", "ES", "FR", "GB", "IT", "NL", "US"),
)
FRAGMENTS = (
    *("a@a.", "a@a", "@", "a.b.", "1 1 1 ", "1-", "(1)", "+1 212 ", "+", "((((", "12.", "1.1.1.1."),
    *(
        "<<<",
        "<a ",
        "<a href='",
        '<a b="',
        "<!--",
        "<script>",
        "</script",
        "<![CDATA[",
        "]]>",
        "</",
        "<b>",
    ),
    *(
        "&amp;",
        "&",
        "&#38;",
        "&amp;lt;",
        "&#x",
        "http://",
        "www.",
        "://",
        "http://a.b/",
        "pic.twitter.com/",
    ),
    *(
        "\u0301",
        "e\u0301",
        "\u200d",
        "\ufe0f",
        "😀",
        "â€™",
        "Ã©",
        "ÂÂ",
        "\x00",
        "\u3164",
        "\xa0",
        "\n",
    ),
    *(
        "RT @a: ",
        "@a@b.",
        "#",
        "##a",
        "!!!!",
        "??",
        "DE89 3704 ",
        "DE89",
        "4111 ",
        "a at gmail ",
        " dot ",
    ),
    *(
        "(at)",
        "[dot]",
        "::",
        "fe80:",
        "2001:db8:",
        "AB",
        "ABCDEF12",
        "call ",
        "phone: ",
        "ssn ",
        "ก",
        "日",
        "۴",
    ),
    *("but ", "good ", "not ", "GREAT ", "very ", "isn't ", ":) ", "kind of ", "least "),
    *(
        "-",
        "_",
        " ",
        "  ",
        "a",
        "0",
        "é",
        "a'",
        "%40",
        "%2B",
        "/",
        "=",
        "…",
        "1,",
        "x.y@",
        "٣",
        "１",
        "＠",
    ),
)
PARTS = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4)
TAILS = st.sampled_from(["", "!", "@", ">", ";", "1", "a", "x@example.com"])


def long_text(parts: list[str], tail: str) -> str:
    return ("".join(parts) * LENGTH)[:LENGTH] + tail


@examples(12)
@given(parts=PARTS, tail=TAILS)
def test_a_long_text_of_a_few_pieces_is_cleaned_in_seconds(parts, tail):
    text = long_text(parts, tail)
    with within(SECONDS):
        (cleaned,) = redact(clean_text(pa.array([text])).body_clean, EVERYTHING).to_pylist()
        harmless(text)
    assert cleaned is not None


@examples(6)
@given(parts=PARTS, tail=TAILS)
def test_a_long_text_of_a_few_pieces_is_scored_in_seconds(parts, tail):
    with within(SECONDS):
        scores = VaderModel().score(pa.array([long_text(parts, tail)]))
    assert -1 <= scores["compound"][0].as_py() <= 1


@examples(6)
@given(parts=PARTS, tail=TAILS)
@example(parts=["%2B"], tail="@")
def test_a_long_text_of_a_few_pieces_is_redacted_in_seconds_as_it_is(parts, tail):
    """Also where the patterns that come before would have spared it."""
    with within(SECONDS):
        redact_text(long_text(parts, tail), EVERYTHING)


HOSTILE = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5), st.characters(codec="utf-8")),
    max_size=12,
).map("".join)


@examples(60)
@given(texts=st.lists(st.tuples(HOSTILE, st.one_of(st.none(), HOSTILE)), max_size=5))
def test_any_posts_become_as_many_clean_rows(texts):
    posts = [
        {"body": body, "title": title, "posted_at": datetime(2026, 1, 2, tzinfo=UTC)}
        for body, title in texts
    ]
    with within(SECONDS):
        rows = clean_posts(
            raw_posts(*posts),
            default_languages={},
            min_campaign_chars=10,
            redaction=EVERYTHING,
        )
    assert rows["feedback_id"].to_pylist() == [f"x:{n}" for n in range(len(posts))]
    assert rows["body_clean"].null_count == 0
    again = clean_text(rows["body_clean"]).body_clean
    assert (
        redact(again, EVERYTHING).to_pylist()
        == redact(rows["body_clean"].combine_chunks(), EVERYTHING).to_pylist()
    )
