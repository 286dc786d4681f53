"""Questions to a small published snapshot: filters, counts, pages, and CSV that spreadsheets may open."""

import csv
import io
from datetime import UTC, date, datetime, timedelta

import duckdb
import psutil
import pytest

from data_platform.reporting import explore
from data_platform.reporting.explore import Filter
from data_platform.reporting.snapshot import publish
from data_platform.schemas import INCIDENTS, RISING_TERMS, SOURCE_HEALTH
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.reporting.conftest import filler, insert

FIRST, LAST = date(2026, 3, 1), date(2026, 3, 4)
ALL = Filter(FIRST, LAST)


@pytest.fixture
def path(home):
    return home / "it's published" / "feedback.duckdb"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Four days: a shop with topics, and a forum in German that is not scored."""
    home = tmp_path_factory.mktemp("explored")
    warehouse, path = Warehouse(home / "warehouse.duckdb"), home / "feedback.duckdb"
    fill = filler(warehouse)
    fill(FIRST, 3, label="positive", text="the parcel came Early {}", topic="delivery")
    fill(date(2026, 3, 2), 2, label="negative", text="the parcel is late {}", topic="delivery")
    fill(date(2026, 3, 2), 1, label="neutral", text="a parcel {}", topic="prices")
    fill(date(2026, 3, 3), 4, label=None, feed="forum", language="de", text="schön ÄRGERLICH {}")
    fill(LAST, 1, label="negative", text="late again {}", like_count=7, share_count=1)
    publish(warehouse, path)
    return path


@pytest.fixture
def connection(published):
    with explore.opened(published) as snapshot:
        yield snapshot.connection


def count(connection, wanted):
    """Return how many posts there are, by two ways."""
    (row,) = explore.sums(connection, explore.daily_counts(connection, wanted), wanted)
    listed = explore.posts(connection, wanted, "newest", 1000).num_rows
    assert listed == (row["posts"] or 0), "what is counted is what is listed"
    return listed


def test_the_scope_is_what_there_is_to_choose_from(connection):
    scope = explore.read_scope(connection)
    assert (scope.first, scope.last, scope.post_count) == (FIRST, LAST, 11)
    assert scope.feeds == ("shop", "forum")
    assert scope.languages == ("en", "de")
    assert scope.topics == ("delivery", "prices")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 11),
        ({"feeds": ("shop",)}, 7),
        ({"feeds": ("shop", "forum")}, 11),
        ({"languages": ("de",)}, 4),
        ({"topics": ("delivery",)}, 5),
        ({"labels": ("negative",)}, 3),
        ({"labels": ("not scored",)}, 4),
        ({"labels": ("negative", "neutral"), "topics": ("prices",)}, 1),
        ({"search": "parcel"}, 6),
        ({"search": "  early PARCEL "}, 3),
        ({"search": "ärgerlich"}, 4),
        ({"search": "scho\u0308n"}, 4),
        ({"search": "parc late"}, 2),
        ({"search": "nowhere"}, 0),
        ({"search": "%"}, 0),
        ({"search": "' OR TRUE --"}, 0),
        ({"feeds": ("' OR TRUE --",)}, 0),
        ({"topics": ("x'); DROP TABLE cleaned_feedback; --",)}, 0),
        ({"first": LAST}, 1),
        ({"last": FIRST}, 3),
    ],
)
def test_a_filter_lets_through_what_it_says(connection, changes, expected):
    assert count(connection, Filter(**({"first": FIRST, "last": LAST} | changes))) == expected


def test_shares_ignore_the_choice_of_labels_and_carry_wilsons_interval(connection):
    counts = explore.daily_counts(connection, ALL)
    (every,) = explore.sums(connection, counts, ALL)
    (some,) = explore.sums(connection, counts, Filter(FIRST, LAST, labels=("negative",)))
    assert (every["posts"], every["scored"], every["negative"], every["rest"]) == (11, 7, 3, 4)
    assert every["net"] == 0
    assert every["negative_share"] == pytest.approx(3 / 7, abs=1e-6)
    # Wilson's interval of 3 in 7, by hand.
    assert every["negative_low_share"] == pytest.approx(0.158224, abs=1e-5)
    assert every["negative_high_share"] == pytest.approx(0.749544, abs=1e-5)
    assert some["posts"] == 3
    assert some["negative_share"] == every["negative_share"]


def test_groups_add_up_to_the_whole(connection):
    counts = explore.daily_counts(connection, ALL)
    for by in (("date",), ("week",), ("feed",), ("language",), ("topic",), ("date", "feed")):
        rows = explore.sums(connection, counts, ALL, by)
        assert sum(row["posts"] for row in rows) == 11, by
    weeks = explore.sums(connection, counts, ALL, ("week",))
    assert [(row["date"], row["posts"]) for row in weeks] == [
        (date(2026, 2, 23), 3),  # 1 March 2026 is a Sunday
        (date(2026, 3, 2), 8),
    ]
    folded = explore.sums(connection, counts, ALL, ("feed",), drawn=["forum"])
    assert {row["feed"]: row["posts"] for row in folded} == {"forum": 4, explore.OTHER_FEEDS: 7}


def test_counts_agree_with_the_marts(connection):
    counts = explore.daily_counts(connection, ALL)
    rows = explore.sums(connection, counts, ALL, ("date", "feed", "language"))
    marts = connection.execute(
        "SELECT date, feed, language, post_count, scored_count, negative_count, negative_low_share"
        " FROM daily_sentiment ORDER BY ALL"
    ).fetchall()
    names = ("date", "feed", "language", "posts", "scored", "negative", "negative_low_share")
    assert [tuple(row[name] for name in names) for row in rows] == marts


def test_the_period_before_has_the_same_length_and_ends_the_day_before(connection):
    before = Filter(date(2026, 3, 3), LAST, feeds=("shop",)).before
    assert (before.first, before.last, before.feeds) == (FIRST, date(2026, 3, 2), ("shop",))
    assert count(connection, before) == 6


def test_pages_follow_the_order_without_gap_and_repetition(connection):
    for order in explore.ORDERS:
        whole = explore.posts(connection, ALL, order, 100).to_pylist()
        paged = [
            row
            for offset in (0, 4, 8)
            for row in explore.posts(connection, ALL, order, 4, offset).to_pylist()
        ]
        assert paged == whole
    first = {
        order: explore.posts(connection, ALL, order, 1).to_pylist()[0] for order in explore.ORDERS
    }
    assert first["newest"]["posted_at"].date() == LAST
    assert first["most negative"]["compound"] == -0.6
    assert first["most positive"]["compound"] == 0.6
    assert first["most reactions"]["like_count"] == 7
    last = explore.posts(connection, ALL, "most negative", 1, 10).to_pylist()[0]
    assert last["label"] == "not scored", "what has no score comes last, whichever the order"


def test_a_day_is_a_day_in_utc(warehouse, fill, path):
    fill(FIRST, 1, posted_at=datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC))
    fill(date(2026, 3, 2), 1, posted_at=datetime(2026, 3, 2, tzinfo=UTC))
    publish(warehouse, path)
    with explore.opened(path) as snapshot:
        assert count(snapshot.connection, Filter(FIRST, FIRST)) == 1
        rows = explore.sums(
            snapshot.connection, explore.daily_counts(snapshot.connection, ALL), ALL, ("date",)
        )
    assert [row["date"] for row in rows] == [FIRST, date(2026, 3, 2)]


ATTACKS = {
    '=HYPERLINK("http://evil.example","x")': '\'=HYPERLINK("http://evil.example","x")',
    "+1+1": "'+1+1",
    "-2+3+cmd|' /C calc'!A0": "'-2+3+cmd|' /C calc'!A0",
    "@SUM(1)": "'@SUM(1)",
    "\t=1+1": "'=1+1",
    "\r=1+1": "'=1+1",
    " =1+1": "'=1+1",
    "\u202e=1+1": "'=1+1",
    "＝1+1": "'＝1+1",
    'a","=1+1': 'a","=1+1',
    "a\r\n=1+1": "a =1+1",
    "\x1b[31mred": "[31mred",
    "an ordinary - text": "an ordinary - text",
    "👩‍👩‍👧 family": "👩‍👩‍👧 family",
}


def test_the_csv_holds_no_formula_and_numbers_stay_numbers(warehouse, fill, path):
    for text in ATTACKS:
        fill(FIRST, 1, label="negative", text=text, like_count=3, topic="\u202e=1+1")
    publish(warehouse, path)
    with explore.opened(path) as snapshot:
        content = explore.posts_csv(snapshot.connection, ALL, "newest")
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [row["text"] for row in reversed(rows)] == list(ATTACKS.values())
    for row in rows:
        assert row["topic"] == "'=1+1"
        assert (float(row["compound"]), int(row["like_count"])) == (-0.6, 3)
        assert row["share_count"] == ""
        assert row["posted_at_utc"].startswith("2026-03-01 00:00:")
    assert b",-0.6," in content, "a negative number is not quoted"


def test_the_csv_ends_at_its_limit(connection, monkeypatch):
    monkeypatch.setattr(explore, "CSV_POSTS", 2)
    content = explore.posts_csv(connection, ALL, "newest").decode("utf-8-sig")
    assert len(list(csv.reader(io.StringIO(content)))) == 3


def test_incidents_and_terms_are_those_of_the_filter(warehouse, fill, path):
    fill(FIRST, 1)
    incident = {
        "feed": "shop", "topic": "all", "measure": "post_count", "direction": "up",
        "first_date": FIRST, "last_date": FIRST, "peak_date": FIRST,
    }  # fmt: skip
    term = {"first_date": FIRST, "last_date": LAST, "feed": "shop", "language": "en"}
    with warehouse.transaction() as transaction:
        insert(transaction, INCIDENTS, incident | {"incident_id": "1"})
        insert(transaction, INCIDENTS, incident | {"incident_id": "2", "feed": "forum"})
        insert(transaction, RISING_TERMS, term | {"term": "late", "score": 4.0})
        insert(transaction, RISING_TERMS, term | {"term": "queue", "score": 5.0})
        insert(transaction, SOURCE_HEALTH, {"feed": "shop", "last_error": "not there"})
    publish(warehouse, path)
    with explore.opened(path) as snapshot:
        connection = snapshot.connection
        (mine,) = explore.incidents(connection, Filter(FIRST, FIRST, feeds=("shop",)))
        later = Filter(LAST, LAST)
        assert mine["what"] == "more posts than usual in shop"
        assert explore.incidents(connection, later) == []
        (period,) = explore.term_periods(connection)
        terms = explore.rising_terms(connection, period, ALL)
        assert terms["term"].to_pylist() == ["queue", "late"]
        german = Filter(FIRST, LAST, languages=("de",))
        assert explore.rising_terms(connection, period, german).num_rows == 0
        assert explore.source_health(connection)["last_error"].to_pylist() == ["not there"]


def test_a_reader_of_the_old_snapshot_does_not_keep_others_from_the_new_one(warehouse, fill, path):
    """`duckdb.connect` to the same path would return the old file while it is open."""
    fill(LAST, 1)
    publish(warehouse, path)
    with explore.opened(path) as old:
        fill(LAST, 5)
        publish(warehouse, path)
        with explore.opened(path) as new:
            assert count(new.connection, ALL) == 6
            assert new.identity != old.identity
        assert count(old.connection, ALL) == 1
    assert explore.identity_of(path) == new.identity


def test_no_file_stays_open(published):
    with explore.opened(published) as snapshot:
        explore.read_scope(snapshot.connection)
        assert str(published) in [file.path for file in psutil.Process().open_files()]
    assert str(published) not in [file.path for file in psutil.Process().open_files()]


def test_the_connection_reads_one_file_and_nothing_else(published, tmp_path):
    with explore.opened(published) as snapshot:
        for statement in (
            "DELETE FROM cleaned_feedback",
            "SELECT * FROM read_text('/etc/hostname')",
            f"ATTACH '{tmp_path / 'other.duckdb'}'",
            f"COPY cleaned_feedback TO '{tmp_path / 'x.csv'}'",
            "SET enable_external_access = true",
        ):
            with pytest.raises(duckdb.Error):
                snapshot.connection.execute(statement)


def test_what_is_no_snapshot_of_this_release_says_what_mends_it(home, path):
    with pytest.raises(FileNotFoundError), explore.opened(path):
        pass
    assert explore.identity_of(path) is None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database")
    with pytest.raises(explore.UnreadableSnapshotError, match="publish"), explore.opened(path):
        pass
    other = home / "other.duckdb"
    with duckdb.connect(str(other)) as connection:
        connection.execute("CREATE TABLE schema_version AS SELECT 1 AS version")
    with pytest.raises(explore.UnreadableSnapshotError, match="release"), explore.opened(other):
        pass


def test_an_empty_snapshot_has_an_empty_scope(warehouse, path):
    publish(warehouse, path)
    with explore.opened(path) as snapshot:
        scope = explore.read_scope(snapshot.connection)
        assert (scope.first, scope.last, scope.post_count, scope.feeds) == (None, None, 0, ())
        assert snapshot.published_at > datetime.now(UTC) - timedelta(minutes=5)
