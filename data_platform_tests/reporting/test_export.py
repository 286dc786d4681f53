"""Exports: what is in the files, which rows, and that a file is whole whatever happens meanwhile."""

import csv
import os
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_platform.errors import ConfigurationError
from data_platform.reporting.export import Selection, export_table, format_of, list_tables
from data_platform.reporting.marts import refresh_daily_sentiment, refresh_topic_sentiment
from data_platform.reporting.snapshot import publish
from data_platform.schemas import (
    CAMPAIGNS,
    CLEANED_FEEDBACK,
    DAILY_SIGNALS,
    DIM_FEED,
    PUBLISHED_VIEWS,
    READABLE,
)
from data_platform.storage.days import DaySpan
from data_platform.storage.files import replaced
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.reporting.conftest import filler, insert

DAY = date(2026, 3, 2)
NEXT_DAY = date(2026, 3, 3)
FORMATS = ("parquet", "arrow", "csv")
# text as collected, and as a spreadsheet may have it
HOSTILE = {
    "=1+1": "'=1+1",
    "@SUM(A1)": "'@SUM(A1)",
    "-2+3": "'-2+3",
    "+1": "'+1",
    "\t=x": "'=x",
    "\ttab": "'tab",
    "\rreturn": "'return",
    "\x00=x": "'=x",
    " =x": "' =x",
    "\n=x": "'\n=x",
    "\ufeff=x": "'\ufeff=x",
    "\u200b@x": "'\u200b@x",
    "＝１＋１": "'＝１＋１",
    '=HYPERLINK("http://evil.example","a")': '\'=HYPERLINK("http://evil.example","a")',
    'she said "no", twice': 'she said "no", twice',
    '"': '"',
    "two\nlines": "two\nlines",
    "two\r\nlines": "two\nlines",
    "nul\x00, bell\x07, escape\x1b[31m, delete\x7f, next line\x85": (
        "nul, bell, escape[31m, delete, next line"
    ),
    "love it ❤️ 👨‍👩‍👧": "love it ❤️ 👨‍👩‍👧",
    "a = b - c @ d": "a = b - c @ d",
    "it's 5-1": "it's 5-1",
    "": "",
    "NULL": "NULL",
    ";'); DROP TABLE feedback; --": ";'); DROP TABLE feedback; --",
}
EXPORT_UNTIL_STOPPED = """
import sys
from pathlib import Path
from data_platform.reporting.export import export_table
snapshot, folder = Path(sys.argv[1]), Path(sys.argv[2])
number = 0
while not (folder / "stop").exists():
    export_table(snapshot, "feedback", folder / f"{number}.parquet", "parquet")
    number += 1
    (folder / "begun").touch()
"""
EXPORT_ONCE = """
import sys
from pathlib import Path
from data_platform.reporting.export import export_table
export_table(Path(sys.argv[1]), "cleaned_feedback", Path(sys.argv[2]), sys.argv[3])
"""


@pytest.fixture
def snapshot(home):
    return home / "published" / "feedback.duckdb"


def read(path):
    """Return the rows of a file, each as a dictionary."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".arrow":
        with pa.ipc.open_file(path) as reader:
            return reader.read_all().to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def exported(snapshot, home, name, file_format="parquet", **chosen):
    path = home / f"out.{file_format}"
    written = export_table(snapshot, name, path, file_format, Selection(**chosen))
    rows = read(path)
    assert written.row_count == len(rows)
    assert written.size_bytes == path.stat().st_size
    return rows


def publish_posts(warehouse, snapshot):
    """Publish posts of two days and two feeds."""
    fill = filler(warehouse)
    for day in (NEXT_DAY, DAY):
        fill(day, 2, label="negative", topic="beans", like_count=7)
        fill(day, 1, label=None, feed="forum", text="noch nie {}", language="de")
    with warehouse.transaction() as transaction:
        for feed in ("shop", "forum"):
            insert(transaction, DIM_FEED, {"feed_id": feed, "source": f"{feed}.example"})
    publish(warehouse, snapshot)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A snapshot of posts of two days and two feeds; tests must not change it."""
    home = tmp_path_factory.mktemp("published")
    publish_posts(Warehouse(home / "warehouse.duckdb"), home / "feedback.duckdb")
    return home / "feedback.duckdb"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A snapshot without a row."""
    home = tmp_path_factory.mktemp("empty")
    publish(Warehouse(home / "warehouse.duckdb"), home / "feedback.duckdb")
    return home / "feedback.duckdb"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A snapshot of posts whose texts and topics are hostile."""
    home = tmp_path_factory.mktemp("hostile")
    warehouse = Warehouse(home / "warehouse.duckdb")
    fill = filler(warehouse)
    for number, text in enumerate(HOSTILE):
        fill(DAY, 1, body_clean=text, topic=text[:200], compound=-0.25, like_count=-number)
    publish(warehouse, home / "feedback.duckdb")
    return home / "feedback.duckdb"


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_hostile_text_is_unchanged_in_columnar_files(hostile, home, file_format):
    rows = exported(hostile, home, "feedback", file_format)
    assert [row["body_clean"] for row in rows] == list(HOSTILE)
    assert [row["topic"] for row in rows] == [text[:200] for text in HOSTILE]


def test_hostile_text_is_no_formula_in_csv_and_numbers_stay_numbers(hostile, home):
    rows = exported(hostile, home, "feedback", "csv")
    assert [row["body_clean"] for row in rows] == list(HOSTILE.values())
    assert {row["compound"] for row in rows} == {"-0.25"}
    assert [row["like_count"] for row in rows] == [str(-n) for n in range(len(HOSTILE))]
    raw = (home / "out.csv").read_bytes()
    assert not any(byte < 32 and byte != 10 for byte in raw)
    assert rows[0]["posted_at"].startswith("2026-03-02 00:00:")
    assert rows[0]["posted_at"].endswith("+00")


def test_duckdb_reads_the_csv_back(hostile, home):
    exported(hostile, home, "feedback", "csv")
    found = duckdb.execute(
        "SELECT body_clean FROM read_csv(?, header = true, all_varchar = true, nullstr = '∅')",
        [str(home / "out.csv")],
    ).fetchall()
    assert [text for (text,) in found] == list(HOSTILE.values())


def test_nothing_and_empty_text_differ_in_csv(published, home):
    exported(published, home, "feedback", "csv", feeds=("forum",))
    line = (home / "out.csv").read_text(encoding="utf-8").splitlines()[1]
    assert ",forum,forum.example,de,,noch nie 3,3,,,,,,,,,,,false" in line


def test_there_is_one_row_per_post_with_what_an_analyst_asks_for(published, home):
    rows = exported(published, home, "feedback")
    assert [row["feedback_id"] for row in rows] == sorted(row["feedback_id"] for row in rows)
    assert len(rows) == 6
    row = next(row for row in rows if row["feedback_id"] == "shop:00001")
    assert row == {
        "date": NEXT_DAY,
        "posted_at": datetime(2026, 3, 3, 0, 0, 1, tzinfo=UTC),
        "feedback_id": "shop:00001",
        "feed": "shop",
        "source": "shop.example",
        "language": "en",
        "topic": "beans",
        "body_clean": "it is as it is 1",
        "word_count": 6,
        "negative": 0.0,
        "neutral": 0.5,
        "positive": 0.0,
        "compound": -0.6,
        "label": "negative",
        "model_name": "",
        "rating": None,
        "like_count": 7,
        "share_count": None,
        "reply_count": None,
        "is_duplicate": False,
    }
    unscored = [row for row in rows if row["feed"] == "forum"]
    assert [row["label"] for row in unscored] == [None, None]


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("file_format", FORMATS)
def test_every_table_can_be_exported_even_if_it_is_empty(empty, home, name, file_format):
    """Also: the views hold the columns that are declared of them."""
    path = home / f"out.{file_format}"
    assert export_table(empty, name, path, file_format).row_count == 0
    declared = [column.name for column in READABLE[name].published_columns]
    if file_format == "csv":
        assert path.read_text(encoding="utf-8") == ",".join(declared) + "\n"
        return
    if file_format == "parquet":
        schema = pq.read_schema(path)
    else:
        with pa.ipc.open_file(path) as reader:
            schema = reader.schema
    types = READABLE[name].arrow_schema
    assert schema.names == declared
    for field in schema:
        assert field.type == types.field(field.name).type, field.name


def test_views_carry_the_declared_columns_and_their_descriptions(empty):
    with duckdb.connect(str(empty), read_only=True) as connection:
        for view, _ in PUBLISHED_VIEWS.values():
            assert connection.execute(
                "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = ?"
                " ORDER BY column_index",
                [view.name],
            ).fetchall() == [(c.name, c.description) for c in view.columns]


def test_parquet_is_compressed_with_zstd(published, home):
    exported(published, home, "feedback")
    column = pq.ParquetFile(home / "out.parquet").metadata.row_group(0).column(7)
    assert (column.path_in_schema, column.compression) == ("body_clean", "ZSTD")


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_the_same_rows_give_the_same_file(published, home, file_format):
    exported(published, home, "feedback", file_format)
    first = (home / f"out.{file_format}").read_bytes()
    exported(published, home, "feedback", file_format)
    assert (home / f"out.{file_format}").read_bytes() == first


@pytest.mark.parametrize(
    ("chosen", "days"),
    [
        ({}, {DAY, NEXT_DAY}),
        ({"first": DAY, "last": DAY}, {DAY}),
        ({"first": NEXT_DAY}, {NEXT_DAY}),
        ({"last": DAY}, {DAY}),
        ({"first": DAY, "last": NEXT_DAY}, {DAY, NEXT_DAY}),
        ({"first": date(2026, 3, 4)}, set()),
        ({"first": date.min, "last": date.max}, {DAY, NEXT_DAY}),
        ({"latest_days": 1}, {NEXT_DAY}),
        ({"latest_days": 2}, {DAY, NEXT_DAY}),
        ({"latest_days": 1_000_000}, {DAY, NEXT_DAY}),
        ({"latest_days": 1, "last": DAY}, set()),
    ],
)
@pytest.mark.parametrize("name", ["feedback", "daily_sentiment"])
def test_days_are_chosen_whole_and_included(published, home, name, chosen, days):
    assert {row["date"] for row in exported(published, home, name, **chosen)} == days


def test_the_last_moment_of_a_day_belongs_to_it_and_midnight_to_the_next(
    warehouse, snapshot, home, fill
):
    moments = [
        datetime(2026, 3, 2, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 3, tzinfo=UTC),
    ]
    for moment in moments:
        fill(moment.date(), 1, posted_at=moment)
    publish(warehouse, snapshot)
    for moment in moments:
        rows = exported(snapshot, home, "feedback", first=moment.date(), last=moment.date())
        assert [row["posted_at"] for row in rows] == [moment]


@pytest.mark.parametrize("name", ["feedback", "daily_sentiment", "fct_feedback", "dim_feed"])
def test_feeds_are_chosen_by_name(published, home, name):
    column = READABLE[name].reading_feed_column
    assert {r[column] for r in exported(published, home, name, feeds=("shop",))} == {"shop"}
    both = exported(published, home, name, feeds=("shop", "forum"))
    assert both == exported(published, home, name)


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("feedbak", {}, "no published table 'feedbak'; did you mean feedback?"),
        ("raw_feedback", {}, "no published table 'raw_feedback'"),
        ("feedback; DROP TABLE x", {}, "no published table"),
        ("weekly_sentiment", {"first": DAY}, "weekly_sentiment has no column of days"),
        ("sentiment_scores", {"feeds": ("shop",)}, "sentiment_scores has no column of feeds"),
        (
            "feedback",
            {"first": NEXT_DAY, "last": DAY},
            "2026-03-02, is before the first, 2026-03-03",
        ),
        ("feedback", {"feeds": ("shp",)}, "no feed 'shp'; did you mean shop?. Feeds: forum, shop"),
    ],
)
def test_mistakes_are_told_and_write_nothing(published, home, name, chosen, message):
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        export_table(published, name, home / "out.csv", "csv", Selection(**chosen))
    assert not list(home.glob("*out.csv*"))


def test_tables_that_hold_dates_without_being_partitioned_can_be_chosen_by_day():
    assert DAILY_SIGNALS.day_column is None
    assert DAILY_SIGNALS.reading_day_column == "date"
    assert CAMPAIGNS.reading_day_column is None


def test_without_a_snapshot_the_message_says_what_makes_one(home):
    for attempt in (
        lambda: export_table(home / "none", "feedback", home / "x.csv", "csv"),
        lambda: list_tables(home / "none"),
    ):
        with pytest.raises(ConfigurationError, match="data-platform publish"):
            attempt()


def test_a_snapshot_of_an_earlier_release_is_told_and_is_built_anew(warehouse, snapshot, home):
    publish_posts(warehouse, snapshot)
    with duckdb.connect(str(snapshot)) as connection:
        connection.execute("DROP VIEW feedback")
    with pytest.raises(ConfigurationError, match="another release and has no such feedback"):
        export_table(snapshot, "feedback", home / "x.csv", "csv")
    publish(warehouse, snapshot)
    assert len(exported(snapshot, home, "feedback")) == 6


def test_what_can_be_exported_is_listed_with_rows_and_meaning(published):
    found = {entry.name: entry for entry in list_tables(published)}
    assert list(found) == sorted(READABLE)
    assert found["feedback"].row_count == 6
    assert found["feedback"].description.startswith("One row per post")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "b/a.CSV", "a.arrow"])
def test_the_ending_names_the_format(name):
    assert format_of(Path(name)) == name.rpartition(".")[2].lower()


@pytest.mark.parametrize("name", ["a", "a.xlsx", ".csv", "csv"])
def test_an_ending_that_names_no_format_is_told(name):
    with pytest.raises(ConfigurationError, match="--format"):
        format_of(Path(name))


@pytest.mark.parametrize("file_format", FORMATS)
def test_only_the_owner_can_read_the_file_even_if_others_could_read_the_former(
    published, home, file_format
):
    path = home / f"out.{file_format}"
    path.write_text("former")
    path.chmod(0o644)
    exported(published, home, "feedback", file_format)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in home.iterdir() if "out" in p.name] == [path.name]


def test_a_device_is_not_replaced_and_a_link_stays_one(published, home):
    os.mkfifo(home / "pipe")
    with pytest.raises(ConfigurationError, match="no file that could be replaced"):
        export_table(published, "feedback", home / "pipe", "csv")
    assert stat.S_ISFIFO((home / "pipe").stat().st_mode)
    (home / "target.csv").write_text("former")
    (home / "link.csv").symlink_to("target.csv")
    export_table(published, "feedback", home / "link.csv", "csv")
    assert (home / "link.csv").is_symlink()
    assert len(read(home / "target.csv")) == 6


@pytest.mark.parametrize("name", ["a file/x.csv", "a file/x/y.csv", "x" * 300 + ".csv"])
def test_a_place_that_takes_no_file_is_told(published, home, name):
    (home / "a file").write_text("former")
    with pytest.raises(ConfigurationError, match=r"cannot be written: .*; choose another output"):
        export_table(published, "feedback", home / name, "csv")
    assert (home / "a file").read_text() == "former"


def test_a_path_may_hold_quotes_and_stands_in_a_new_folder(published, home):
    path = home / 'it\'s "new"' / "o'x.csv"
    export_table(published, "feedback", path, "csv")
    assert len(read(path)) == 6


def test_a_publish_meanwhile_gives_one_state_or_the_other(warehouse, snapshot, home, fill):
    """Every post tells the generation that it was published with; no file may hold two."""
    for day in (DAY, NEXT_DAY):
        fill(day, 300, topic="0", like_count=0)
    publish(warehouse, snapshot)
    folder = home / "files"
    folder.mkdir()
    exporter = subprocess.Popen(
        [sys.executable, "-c", EXPORT_UNTIL_STOPPED, str(snapshot), str(folder)]
    )
    try:
        for generation in range(1, 15):
            wait_for(lambda: (folder / "begun").exists(), exporter)
            with warehouse.transaction() as transaction:
                transaction.connection.execute(
                    "UPDATE fct_feedback SET topic = ?, like_count = ?",
                    [str(generation), generation],
                )
                for day in (DAY, NEXT_DAY):
                    span = DaySpan.of(day)
                    transaction.seal_days(READABLE["fct_feedback"], span, {}, {})
            with warehouse.transaction() as transaction:
                refresh_topic_sentiment(transaction, DaySpan(DAY, NEXT_DAY))
            publish(warehouse, snapshot)
    finally:
        (folder / "stop").touch()
        assert exporter.wait(60) == 0
    states = []
    for path in sorted(folder.glob("*.parquet"), key=lambda p: int(p.stem)):
        rows = read(path)
        assert len(rows) == 600
        (state,) = {(row["topic"], row["like_count"]) for row in rows}
        states.append(state)
    assert len(set(states)) > 2, "no publish came in between"
    assert [count for _, count in states] == sorted(count for _, count in states)


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the process ended before"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def draft_bytes(path):
    return sum(p.stat().st_size for p in path.parent.glob(f".{path.name}.*"))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A snapshot whose export takes long enough to be killed half-way."""
    home = tmp_path_factory.mktemp("large")
    warehouse = Warehouse(home / "warehouse.duckdb")
    filler(warehouse)(DAY, 1)
    with warehouse.transaction() as transaction:
        names = ", ".join(CLEANED_FEEDBACK.column_names)
        changed = names.replace("feedback_id", "feedback_id || i", 1)
        changed = changed.replace("body_clean", "repeat(md5(i::VARCHAR), 40)")
        transaction.connection.execute(
            f"INSERT INTO cleaned_feedback ({names}) SELECT {changed}"
            " FROM cleaned_feedback, range(150000) r(i)"
        )
        transaction.seal_days(CLEANED_FEEDBACK, DaySpan.of(DAY), {}, {})
        refresh_daily_sentiment(transaction, DaySpan.of(DAY))
    publish(warehouse, home / "feedback.duckdb")
    return home / "feedback.duckdb"


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_kill_half_way_leaves_the_former_file_and_its_draft_goes_with_the_next(
    large, home, file_format
):
    path = home / "out" / f"rows.{file_format}"
    path.parent.mkdir()
    path.write_text("former")
    with subprocess.Popen(
        [sys.executable, "-c", EXPORT_ONCE, str(large), str(path), file_format]
    ) as process:
        wait_for(lambda: draft_bytes(path) > 100_000, process)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "former"
    assert draft_bytes(path) > 0
    (path.parent / f".{path.name}.notes").write_text("not ours")
    export_table(large, "daily_sentiment", path, file_format)
    assert sorted(p.name for p in path.parent.iterdir()) == [f".{path.name}.notes", path.name]


@pytest.mark.parametrize("file_format", FORMATS)
def test_ctrl_c_half_way_is_told_and_leaves_the_former_file_alone(large, home, file_format):
    path = home / "out" / f"rows.{file_format}"
    path.parent.mkdir()
    path.write_text("former")
    with subprocess.Popen(
        [sys.executable, "-c", EXPORT_ONCE, str(large), str(path), file_format],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: draft_bytes(path) > 100_000, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert said.splitlines()[-1] == (
        f"data_platform.errors.InterruptedRunError: Stopped; {path} is as it was."
    )
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "former"


def test_a_draft_of_a_process_that_is_at_work_is_left_alone(home):
    (home / f".x.csv.{os.getppid()}").write_text("half")
    with replaced(home / "x.csv") as draft:
        draft.write_text("whole")
    assert (home / f".x.csv.{os.getppid()}").exists()
    assert (home / "x.csv").read_text() == "whole"


def test_a_block_that_fails_leaves_the_former_file(home):
    (home / "x.csv").write_text("former")

    def fail():
        with replaced(home / "x.csv") as draft:
            draft.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in home.iterdir()] == ["x.csv"]
    assert (home / "x.csv").read_text() == "former"
