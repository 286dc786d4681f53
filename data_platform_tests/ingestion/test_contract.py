"""The post contract: what is let in, what is refused and why, and how each value comes out."""

import unicodedata
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_platform.feed_settings import CONTRACT_FIELDS
from data_platform.ingestion.connectors.pages import BrokenRecord, Page
from data_platform.ingestion.contract import (
    DAY_NOT_OPEN,
    POST_SCHEMA,
    REFUSED_SCHEMA,
    CheckedPage,
    Delivery,
    OpenDays,
    PostContract,
)
from data_platform.schemas import CONTRACT_VERSION
from data_platform_tests.ingestion.conftest import FIELDS, file_feed

KEY = b"k" * 32
OBSERVED_AT = datetime(2024, 5, 1, tzinfo=UTC)
OPEN = OpenDays(date(2024, 1, 1), date(2024, 12, 31))
DELIVERY = Delivery("delivery-1", "a.csv", OBSERVED_AT, OPEN)
GOOD = {"source_id": "1", "posted_at": "2024-01-01T10:00:00Z", "body": "fine"}


def page_of(*rows: dict[str, str | None]) -> Page:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = pa.table(
        {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
    )
    numbers = pa.array(range(1, len(rows) + 1), pa.int64())
    return Page(text.append_column("row_number", numbers), text)


def check(*rows: dict[str, str | None], **feed: Any) -> CheckedPage:
    with PostContract(file_feed(**feed), KEY) as contract:
        return contract.check(page_of(*rows), DELIVERY)


def one(**feed_and_row: Any) -> dict[str, Any]:
    """Check one good record with changes; return the post, or the refused record."""
    row = {k: v for k, v in feed_and_row.items() if k in CONTRACT_FIELDS or k == "source_metadata"}
    feed = {k: v for k, v in feed_and_row.items() if k not in row}
    checked = check({**GOOD, **row}, **feed)
    assert len(checked.posts) + len(checked.refused) == 1
    found: dict[str, Any] = (checked.posts if len(checked.posts) else checked.refused).to_pylist()[
        0
    ]
    return found


def test_a_good_record_becomes_a_post_with_every_field_of_the_contract():
    stated = {
        "title": "T",
        "author_handle": "@ann",
        "edited_at": "2024-01-02",
        "language": "EN",
        "conversation_id": "0007",
        "parent_id": "9",
        "url": "https://shop.example/1",
        "like_count": "3",
        "label": " Positive ",
        "topic": " Delivery ",
        "rating": "4",
        "source_metadata": '{"a": 1}',
    }
    checked = check({**GOOD, **stated}, source="platform", rating_scale=[1, 5])
    assert checked.posts.schema == POST_SCHEMA
    assert checked.refused.schema == REFUSED_SCHEMA
    (found,) = checked.posts.to_pylist()
    author_id, content_hash = found.pop("author_id"), found.pop("content_hash")
    assert len(author_id) == 32
    assert len(content_hash) == 64
    assert found == {
        "feedback_id": "platform:1",
        "feed": "shop",
        "source": "platform",
        "source_id": "1",
        "body": "fine",
        "title": "T",
        "posted_at": datetime(2024, 1, 1, 10, tzinfo=UTC),
        "edited_at": datetime(2024, 1, 2, tzinfo=UTC),
        "observed_at": OBSERVED_AT,
        "is_deleted": False,
        "language_hint": "EN",
        "rating": 0.75,
        "rating_scale": "1..5",
        "label": "positive",
        "topic": "Delivery",
        "conversation_id": "0007",
        "parent_id": "9",
        "url": "https://shop.example/1",
        "like_count": 3,
        "share_count": None,
        "reply_count": None,
        "source_metadata": '{"a": 1}',
    }


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        *(("source_id", v, "source_id is missing") for v in (None, "", "  ", "\t", "\u00a0")),
        ("posted_at", None, "posted_at is missing"),
        ("posted_at", "soon", "posted_at cannot be read as a date and time"),
        ("edited_at", "soon", "edited_at cannot be read as a date and time"),
        *(("body", v, "body is empty") for v in (None, "", "   ", "\n", "\t\r\n", "\u2003\u00a0")),
        *(
            ("rating", v, "rating is not a number within its scale")
            for v in ("five", "0", "5.1", "-1", "nan", "inf", "1e999", "4,5")
        ),
        ("label", "meh", "label is not negative, neutral or positive"),
        ("is_deleted", "maybe", "is_deleted is not true or false"),
        *(
            (name, value, f"{name} is not a whole number of 0 or more")
            for name in ("like_count", "share_count", "reply_count")
            for value in ("-1", "1.5", "many", "99999999999999999999", "0x10", "1_000", "nan")
        ),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused_with_field_and_reason(field, value, reason):
    found = one(**{field: value}, rating_scale=[1, 5])
    assert (found["field"], found["reason"]) == (field, reason)
    assert found["row_number"] == 1
    assert found["file"] == "a.csv"
    assert found["contract_version"] == CONTRACT_VERSION


def test_a_refused_record_keeps_id_day_and_payload_as_far_as_they_can_be_read():
    found = one(body=None)
    assert found["source_id"] == "1"
    assert str(found["posted_date"]) == "2024-01-01"
    assert '"posted_at": "2024-01-01T10:00:00Z"' in found["payload"]
    assert len(one(label="x" * 20_000)["payload"]) == 10_000


def test_a_broken_record_of_the_connector_is_refused_with_its_own_reason():
    page = Page(page_of(GOOD).records, page_of(GOOD).payloads, (BrokenRecord(7, "torn", "{"),))
    with PostContract(file_feed(), KEY) as contract:
        checked = contract.check(page, DELIVERY)
    (found,) = checked.refused.to_pylist()
    assert (found["row_number"], found["reason"], found["payload"]) == (7, "torn", "{")
    assert len(checked.posts) == 1


def test_the_id_of_a_refused_record_is_the_same_in_every_reading_and_unique():
    rows = ({**GOOD, "body": None}, {**GOOD, "body": None})
    ids = [check(*rows).refused["quarantine_id"].to_pylist() for _ in range(2)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_a_post_whose_day_is_not_open_waits_without_its_text():
    with PostContract(file_feed(), KEY) as contract:
        posts = contract.check(page_of(GOOD, {**GOOD, "source_id": "2"}), DELIVERY).posts
        waiting = contract.waiting(posts, DELIVERY).to_pylist()
    assert [row["reason"] for row in waiting] == [DAY_NOT_OPEN] * 2
    assert [row["payload"] for row in waiting] == [None, None]
    assert len({row["quarantine_id"] for row in waiting}) == 2


AT_TEN = datetime(2024, 1, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-02T10:00:00Z", AT_TEN),
        ("2024-01-02 10:00:00z", AT_TEN),
        ("2024-01-02T10:00Z", AT_TEN),
        ("2024-01-02 10:00:00 UTC", AT_TEN),
        ("2024-01-02T02:00:00-0800", AT_TEN),
        ("2024-01-02 02:00:00 -08:00", AT_TEN),
        ("2024-01-02T02:00:00-08", AT_TEN),
        ("2024-01-02T15:30:00+05:30", AT_TEN),
        ("2024-01-02T10:00:00.123456789Z", AT_TEN.replace(microsecond=123456)),
        ("2024-01-02T10:00:00,5Z", AT_TEN.replace(microsecond=500000)),
        ("2024-01-02T11:00:00", AT_TEN),
        ("2024-01-02 11:00:00.5", AT_TEN.replace(microsecond=500000)),
        ("2024-07-02T12:00:00", datetime(2024, 7, 2, 10, tzinfo=UTC)),
        ("2024-01-02", datetime(2024, 1, 1, 23, tzinfo=UTC)),
        ("Tue Jan 02 10:00:00 +0000 2024", AT_TEN),
        ("Tue, 02 Jan 2024 05:00:00 -0500", AT_TEN),
        ("Tue, 2 Jan 2024 10:00:00 GMT", AT_TEN),
        ("2 Jan 2024 11:00:00 +0100", AT_TEN),
    ],
)
def test_a_date_is_read_in_every_usual_form_and_the_feed_tells_a_missing_zone(text, expected):
    assert one(posted_at=text, timezone="Europe/Berlin")["posted_at"] == expected


@pytest.mark.parametrize(
    "text",
    [
        "infinity",
        "-infinity",
        "epoch",
        "now",
        "today",
        "2024-02-30",
        "2024-13-01",
        "0000-01-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "10000-01-01",
        "12024-01-01",
        "2024-01-01T25:00:00Z",
        "2024-01-01T10:61:00Z",
        "2024-01-01T10:00:00+99:00",
        "2024-01-01T10:00:00+00:99",
        "2024-01-01 (BC)",
        "Mon Jan 01 10:00:00 +0000 0000",
        "01/02/2024",
        "1704103200",
        "２０２４-01-01",
        " ",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati"])
def test_what_no_calendar_holds_is_refused_and_nothing_raises(text, zone):
    found = one(posted_at=text, timezone=zone)
    assert found["reason"] == "posted_at cannot be read as a date and time"
    assert found["posted_date"] is None


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("epoch_seconds", "1704189600", AT_TEN),
        ("epoch_seconds", "1704189600.5", AT_TEN.replace(microsecond=500000)),
        ("epoch_seconds", "1.7041896e9", AT_TEN),
        ("epoch_milliseconds", "1704189600000", AT_TEN),
        ("%d/%m/%Y %H:%M", "02/01/2024 11:00", AT_TEN),
        ("%d/%m/%Y %H:%M %z", "02/01/2024 12:00 +0200", AT_TEN),
        ("%d/%m/%Y %H:%M %Z", "02/01/2024 15:00 Asia/Karachi", AT_TEN),
    ],
)
def test_a_date_in_the_form_that_the_feed_tells(form, text, expected):
    found = one(posted_at=text, posted_at_format=form, timezone="Europe/Berlin")
    assert found["posted_at"] == expected


@pytest.mark.parametrize(
    ("form", "text"),
    [
        *(("epoch_seconds", text) for text in ("nan", "inf", "-5", "1e30", "soon", "2024-01-01")),
        *(("epoch_milliseconds", text) for text in ("nan", "1e30")),
        *(("%d/%m/%Y", text) for text in ("31/02/2024", "epoch", "infinity", "01/01/0000", "")),
    ],
)
def test_a_date_that_is_not_in_the_told_form_is_refused(form, text):
    assert one(posted_at=text, posted_at_format=form)["field"] == "posted_at"


@pytest.mark.parametrize(
    ("scale", "text", "expected", "name"),
    [
        ([1, 5], "1", 0.0, "1..5"),
        ([1, 5], " 5 ", 1.0, "1..5"),
        ([1, 5], "3.5", 0.625, "1..5"),
        ([0, 10], "7", 0.7, "0..10"),
        ([-1, 1], "0", 0.5, "-1..1"),
        ([0.5, 5], "0.5", 0.0, "0.5..5"),
    ],
)
def test_a_rating_is_brought_to_0_to_1_with_its_scale(scale, text, expected, name):
    found = one(rating=text, rating_scale=scale)
    assert (found["rating"], found["rating_scale"]) == (expected, name)


def test_a_post_without_rating_has_no_scale():
    assert one(rating_scale=[1, 5])["rating_scale"] is None


@pytest.mark.parametrize(
    ("text", "expected"), [("3", 3), (" 7 ", 7), ("12.0", 12), ("1e3", 1000), (None, None)]
)
def test_a_whole_number_is_read_as_spreadsheets_and_parquet_write_it(text, expected):
    assert one(like_count=text)["like_count"] == expected


@pytest.mark.parametrize("text", ["true", "T", " yes", "Y", "1"])
def test_a_deleted_post_is_landed_as_an_empty_tombstone(text):
    stated = {"title": "T", "author_handle": "ann", "url": "u", "source_metadata": "{}"}
    found = one(is_deleted=text, rating="3", rating_scale=[1, 5], label="neutral", **stated)
    empty = ("body", "title", "author_id", "url", "source_metadata", "rating", "rating_scale")
    assert found["is_deleted"]
    assert {found[name] for name in (*empty, "label")} == {None}
    assert found["content_hash"] == one(is_deleted=text, body=None)["content_hash"]


@pytest.mark.parametrize("text", ["false", "F", "no ", "n", "0", "", None])
def test_a_post_that_is_said_to_stand_is_no_tombstone(text):
    assert one(is_deleted=text)["body"] == "fine"


def documented_hash(
    body: str | None, title: str | None, rating: float | None, is_deleted: bool
) -> str:
    """The formula of content_hash as documented, in another language than the code's."""
    parts = [
        unicodedata.normalize("NFC", body) if body is not None else None,
        unicodedata.normalize("NFC", title) if title is not None else None,
        str(rating) if rating is not None else None,
        str(is_deleted).lower(),
    ]
    said = "".join("null;" if p is None else f"{len(p.encode())}:{p};" for p in parts)
    return sha256(said.encode()).hexdigest()


@pytest.mark.parametrize(
    ("body", "title", "rating"),
    [
        ("fine", None, None),
        ("fine", "", None),
        ("cafe\u0301", "caf\u00e9", 0.25),
        ("null;", "4:fine;", 1.0),
        ("é\0abc", None, None),
        ("é\0xyz", "\0", 0.0),
        ("❤️ 日本", None, 0.5),
    ],
)
def test_the_content_hash_follows_the_documented_formula(body, title, rating):
    found = one(body=body, title=title, rating=None if rating is None else str(rating))
    assert found["content_hash"] == documented_hash(body, title, rating, False)


def test_no_two_different_posts_share_a_content_hash():
    texts = [None, "", "a", "ab", "null;", "a\0é", "b\0é"]
    pairs = [(body, title) for body in ("x", "xa", "x\0é", "y\0é") for title in texts]
    hashes = {one(body=body, title=title)["content_hash"] for body, title in pairs}
    assert len(hashes) == len(pairs)


def test_an_author_is_a_keyed_hash_that_never_shows_the_handle():
    rows = [{**GOOD, "author_handle": handle} for handle in ("@secret_ann", "@bob", "@secret_ann")]
    checked = check(*rows, {**GOOD, "author_handle": None})
    first, second, third, unknown = checked.posts["author_id"].to_pylist()
    assert first == third != second
    assert unknown is None
    assert "secret_ann" not in str(checked.posts.to_pylist())
    with PostContract(file_feed(), b"another key of 32 bytes".ljust(32)) as contract:
        other = contract.check(page_of(rows[0]), DELIVERY).posts["author_id"][0].as_py()
    assert other != first
    assert check(rows[0], source="elsewhere").posts["author_id"][0].as_py() != first


# Text as hostile as a file can hold: any character but a lone surrogate, and words with a meaning.
TEXTS = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.sampled_from(
        [
            "infinity",
            "epoch",
            "nan",
            "2024-01-01",
            "9999-12-31T23:59:59-14:00",
            "0001-01-01",
            "1e400",
        ]
    ),
    st.from_regex(r"\A\d{1,5}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?([+-]\d\d(:?\d\d)?|Z)?)?\Z"),
)


@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(st.fixed_dictionaries(dict.fromkeys(CONTRACT_FIELDS, TEXTS)), max_size=20),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia"]),
    form=st.sampled_from([None, "epoch_seconds", "epoch_milliseconds", "%Y-%m-%d", "%c %z"]),
)
@example([{**dict.fromkeys(CONTRACT_FIELDS), **GOOD, "posted_at": "infinity"}], "UTC", None)
def test_whatever_is_read_is_a_post_or_refused_and_nothing_raises(rows, zone, form):
    with PostContract(
        file_feed(timezone=zone, posted_at_format=form, rating_scale=[1, 5]), KEY
    ) as contract:
        checked = contract.check(page_of(*rows) if rows else empty_page(), DELIVERY)
        waiting = contract.waiting(checked.posts, DELIVERY)
    assert len(checked.posts) + len(checked.refused) == len(rows)
    assert len(waiting) == len(checked.posts)
    assert len(set(checked.refused["quarantine_id"].to_pylist())) == len(checked.refused)
    for found in checked.posts.to_pylist():
        expected = documented_hash(
            found["body"], found["title"], found["rating"], found["is_deleted"]
        )
        assert found["content_hash"] == expected


def empty_page() -> Page:
    text = pa.table({name: pa.array([], pa.string()) for name in FIELDS})
    return Page(text.append_column("row_number", pa.array([], pa.int64())), text)


@pytest.mark.parametrize("change", ["delete", "Deleted", " removed ", "d"])
def test_a_change_record_needs_nothing_but_an_id(change):
    record = {"source_id": "1", "change": change}
    checked = check(
        record, {"source_id": "2", "change": change, "posted_at": "rubbish", "body": ""}
    )
    assert checked.refused.num_rows == 0
    for found in checked.posts.to_pylist():
        assert found["is_deleted"]
        assert found["posted_at"] == OBSERVED_AT
        assert found["body"] is None
    hashes = set(checked.posts["content_hash"].to_pylist())
    assert hashes == {one(is_deleted="true")["content_hash"]}


def test_a_deletion_that_states_its_date_keeps_it():
    assert one(change="delete")["posted_at"] == datetime(2024, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("stated", ["1970-01-01", "2023-12-31T23:59:59.999999Z", "2025-01-01"])
def test_a_deletion_that_states_a_closed_day_does_not_wait_for_it(stated):
    assert one(change="delete", posted_at=stated)["posted_at"] == OBSERVED_AT
    post = one(posted_at=stated)
    assert (post["is_deleted"], post["posted_at"] == OBSERVED_AT) == (False, False)


@pytest.mark.parametrize("change", ["", "create", "Updated", None])
def test_a_change_that_is_no_deletion_is_a_post(change):
    assert one(change=change)["body"] == "fine"
    assert one(change=change, body="")["reason"] == "body is empty"


@pytest.mark.parametrize("change", ["restore", "banned", "0"])
def test_a_change_of_another_kind_is_refused(change):
    assert one(change=change)["reason"] == "change is neither a post nor a deletion"


def test_an_id_in_scientific_notation_is_refused_unless_the_feed_trusts_it():
    assert one(source_id="5.70306E+17")["field"] == "source_id"
    assert one(source_id="5.70306E+17", trust_ids=True)["source_id"] == "5.70306E+17"


def test_a_date_with_day_and_month_exchanged_is_told_apart_from_rubbish():
    pattern = {"posted_at_format": "%d/%m/%Y"}
    reason = one(posted_at="03/25/2024", **pattern)["reason"]
    assert reason == "posted_at can be read only with day and month exchanged"
    reason = one(posted_at="31/31/2024", **pattern)["reason"]
    assert reason == "posted_at cannot be read as a date and time"
