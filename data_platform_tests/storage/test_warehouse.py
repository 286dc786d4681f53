"""The warehouse file under many hands: transactions, waits, crashes, merges, rules and digests."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from data_platform.errors import (
    BusyError,
    InputMovedError,
    RuleViolationError,
    WarehouseVersionError,
)
from data_platform.schemas import (
    CLEANED_FEEDBACK,
    DAILY_SENTIMENT,
    DIM_FEED,
    RAW_FEEDBACK,
    SENTIMENT_SCORES,
    TABLES,
    Column,
)
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import (
    NOTHING,
    REFRESH_ATTEMPTS,
    DayWrite,
    MergeCounts,
    Transaction,
    Trouble,
    Warehouse,
    days_filter,
)

DAY = date(2024, 3, 1)
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
TODAY = DaySpan.of(DAY)


def feeds(warehouse: Warehouse) -> list[str]:
    with warehouse.transaction() as transaction:
        return sorted(transaction.arrow("SELECT feed_id FROM dim_feed")["feed_id"].to_pylist())


def add_feed(transaction: Transaction, name: str) -> None:
    transaction.connection.execute("INSERT INTO dim_feed VALUES (?, 'x')", [name])


@contextlib.contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a Python script beside the test, until it says a first line; kill it at the end."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline().strip() == "ready"
            yield running
        finally:
            running.kill()


HOLD_THE_LOCK = """
    import sys, time
    from pathlib import Path
    from data_platform.storage.warehouse import Warehouse
    with Warehouse(Path(sys.argv[1])).transaction() as transaction:
        transaction.connection.execute("INSERT INTO dim_feed VALUES ('unfinished', 'x')")
        print("ready", flush=True)
        sys.stdin.readline()
"""
HOLD_THE_FILE = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
"""
READ_THE_FILE = """
    import sys, duckdb
    with duckdb.connect(sys.argv[1]) as connection:
        print(connection.execute("SELECT count(*) FROM dim_feed").fetchone()[0])
"""
# Imports once and forks: ten interpreters that start take longer than all of their writing, and
# DuckDB imports pandas (a second) at the first parameter that a process hands it.
WRITE_FROM_PROCESSES = """
    import os, sys
    import pandas
    from pathlib import Path
    from data_platform.storage.warehouse import Warehouse
    processes = []
    for writer in range(int(sys.argv[2])):
        if process := os.fork():
            processes.append(process)
            continue
        for number in range(3):
            with Warehouse(Path(sys.argv[1])).transaction() as transaction:
                name = f"{writer}-{number}"
                transaction.connection.execute("INSERT INTO dim_feed VALUES (?, 'x')", [name])
        os._exit(0)
    print([os.waitpid(process, 0)[1] for process in processes])
"""


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_first_transaction_creates_every_table_in_utc(warehouse):
    with warehouse.transaction() as transaction:
        found = transaction.arrow("SELECT table_name FROM duckdb_tables()")
        assert set(found["table_name"].to_pylist()) == {*TABLES, "schema_version"}
        assert transaction.arrow("SELECT current_setting('TimeZone') AS z")["z"][0].as_py() == "UTC"


def test_what_a_transaction_wrote_is_there_afterwards(warehouse):
    with warehouse.transaction() as transaction:
        add_feed(transaction, "kept")
    assert feeds(warehouse) == ["kept"]


def test_an_exception_rolls_back_and_frees_the_file_even_while_it_is_held(warehouse):
    with warehouse.transaction() as transaction:
        add_feed(transaction, "kept")
    held = None
    try:
        with warehouse.transaction() as transaction:
            add_feed(transaction, "dropped")
            message = "in the middle"
            raise KeyError(message)
    except KeyError as error:
        held = error
    assert run(READ_THE_FILE, warehouse.database).strip() == "1"
    assert held is not None
    assert held.__traceback__ is not None
    assert feeds(warehouse) == ["kept"]


def test_a_failed_first_transaction_leaves_a_file_that_the_next_one_can_use(warehouse):
    with pytest.raises(KeyError), warehouse.transaction():
        raise KeyError
    assert feeds(warehouse) == []


def test_a_wait_for_another_writer_ends_with_its_name_and_nothing_written(warehouse):
    feeds(warehouse)
    with process(HOLD_THE_LOCK, warehouse.database) as holder:
        waiting = Warehouse(warehouse.database, lock_timeout_seconds=0.3)
        with pytest.raises(BusyError) as caught, waiting.transaction():
            pytest.fail("the lock is held by another process")
        assert f"process {holder.pid}" in str(caught.value)
        assert "nothing was written" in str(caught.value)


def test_a_transaction_waits_until_the_other_writer_ends(warehouse):
    feeds(warehouse)
    with process(HOLD_THE_LOCK, warehouse.database) as holder:
        assert holder.stdin is not None
        timer = threading.Timer(0.3, lambda: holder.communicate("\n"))
        timer.start()
        assert feeds(warehouse) == ["unfinished"]
        timer.join()


def test_a_program_that_holds_the_file_without_our_lock_is_waited_for_and_named(warehouse):
    feeds(warehouse)
    with process(HOLD_THE_FILE, warehouse.database) as holder:
        waiting = Warehouse(warehouse.database, lock_timeout_seconds=0.3)
        with pytest.raises(BusyError) as caught, waiting.transaction():
            pytest.fail("the file is held by another process")
        assert str(holder.pid) in str(caught.value)
        assert "published snapshot" in str(caught.value)
        timer = threading.Timer(0.3, lambda: holder.communicate("\n"))
        timer.start()
        assert feeds(warehouse) == []
        timer.join()


def test_ten_processes_that_write_at_once_lose_nothing(warehouse):
    assert run(WRITE_FROM_PROCESSES, warehouse.database, 10).strip() == str([0] * 10)
    assert feeds(warehouse) == sorted(f"{n}-{m}" for n in range(10) for m in range(3))


def test_a_writer_that_is_killed_leaves_the_state_before_and_blocks_nobody(warehouse):
    with warehouse.transaction() as transaction:
        add_feed(transaction, "before")
    with process(HOLD_THE_LOCK, warehouse.database) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert feeds(Warehouse(warehouse.database, lock_timeout_seconds=5)) == ["before"]


def test_a_file_of_a_newer_schema_version_is_refused_and_left_alone(warehouse):
    with warehouse.transaction() as transaction:
        transaction.connection.execute("UPDATE schema_version SET version = 999")
    with pytest.raises(WarehouseVersionError, match="schema version 999"), warehouse.transaction():
        pytest.fail("this release does not know that version")
    with duckdb.connect(str(warehouse.database)) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(999,)]


# --- merges


def sentiment_row(**changes: Any) -> dict[str, Any]:
    counts = dict.fromkeys((n for n in DAILY_SENTIMENT.column_names if n.endswith("_count")), 0)
    row = {"date": DAY, "feed": "shop", "language": "en", **counts, "post_count": 1}
    return {**dict.fromkeys(DAILY_SENTIMENT.column_names), **row, **changes}


def sentiment_table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=DAILY_SENTIMENT.arrow_schema)


def replace(
    warehouse: Warehouse, *rows: dict[str, Any], day: date = DAY
) -> tuple[MergeCounts, DayWrite]:
    """Replace and seal one day of daily_sentiment."""
    with warehouse.transaction() as transaction:
        days = DaySpan.of(day)
        counts = transaction.merge_days(DAILY_SENTIMENT, days, sentiment_table(*rows))
        made_from = {day: {"raw_feedback": "d1"}}
        (write,) = transaction.seal_days(DAILY_SENTIMENT, days, counts, made_from)
        return counts.get(day, NOTHING), write


def stored(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    with warehouse.transaction() as transaction:
        return transaction.connection.execute(
            "SELECT date, feed, post_count FROM daily_sentiment ORDER BY ALL"
        ).fetchall()


def test_a_replaced_day_counts_what_it_did_to_each_row(warehouse):
    first = [sentiment_row(feed=name) for name in ("a", "b", "c")]
    assert replace(warehouse, *first)[0] == MergeCounts(3, 0, 0, 0)
    second = [sentiment_row(feed="a"), sentiment_row(feed="b", post_count=2)]
    counts, write = replace(warehouse, *second, sentiment_row(feed="d"))
    assert counts == MergeCounts(inserted=1, updated=1, unchanged=1, deleted=1)
    assert (write.inserted, write.updated, write.unchanged, write.deleted) == (1, 1, 1, 1)
    assert write.row_count == 3
    assert stored(warehouse) == [(DAY, "a", 1), (DAY, "b", 2), (DAY, "d", 1)]


def test_a_replaced_day_leaves_its_neighbours_alone(warehouse):
    for offset in (-1, 0, 1):
        day = DAY + timedelta(days=offset)
        replace(warehouse, sentiment_row(date=day), day=day)
    replace(warehouse)
    assert [row[0] for row in stored(warehouse)] == [DAY - timedelta(1), DAY + timedelta(1)]


def test_days_written_together_are_counted_and_sealed_day_by_day(warehouse):
    other, empty = DAY + timedelta(1), DAY + timedelta(2)
    alone = [replace(warehouse, sentiment_row(date=day), day=day)[1] for day in (DAY, other)]
    rows = sentiment_table(sentiment_row(), sentiment_row(feed="b"), sentiment_row(date=other))
    days = DaySpan(DAY, empty)
    with warehouse.transaction() as transaction:
        counts = transaction.merge_days(DAILY_SENTIMENT, days, rows)
        writes = transaction.seal_days(DAILY_SENTIMENT, days, counts, {})
        recorded = transaction.digests(["daily_sentiment"], days)
    assert [(w.day, w.inserted, w.unchanged, w.row_count, w.changed) for w in writes] == [
        (DAY, 1, 1, 2, True),
        (other, 0, 1, 1, False),
        (empty, 0, 0, 0, True),
    ]
    assert writes[1].digest == alone[1].digest
    assert [recorded[w.day]["daily_sentiment"] for w in writes] == [w.digest for w in writes]


def test_a_change_to_or_from_null_is_an_update(warehouse):
    replace(warehouse, sentiment_row())
    assert replace(warehouse, sentiment_row(mean_compound=0.5))[0].updated == 1
    assert replace(warehouse, sentiment_row(mean_compound=0.5))[0].unchanged == 1
    assert replace(warehouse, sentiment_row())[0].updated == 1


def test_a_merge_that_deletes_nothing_only_adds(warehouse):
    with warehouse.transaction() as transaction:
        for name in ("a", "b"):
            incoming = pa.table({"feed_id": [name], "source": ["x"]})
            transaction.merge(DIM_FEED, incoming, delete_where=None)
    assert feeds(warehouse) == ["a", "b"]


def test_a_row_of_another_day_is_refused_and_nothing_changes(warehouse):
    replace(warehouse, sentiment_row())
    with pytest.raises(RuleViolationError) as caught:
        replace(warehouse, sentiment_row(post_count=9), sentiment_row(date=DAY + timedelta(1)))
    assert caught.value.rule == "rows_are_of_their_day"
    assert stored(warehouse) == [(DAY, "shop", 1)]


# --- rules


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ([sentiment_row(), sentiment_row()], "key_is_unique"),
        ([sentiment_row(post_count=2), sentiment_row(post_count=3)], "key_is_unique"),
        ([sentiment_row(language=None)], "required_fields_are_present"),
        ([sentiment_row(post_count=None)], "required_fields_are_present"),
        ([sentiment_row(feed="new", scored_count=1)], "counts_add_up"),
    ],
)
@pytest.mark.parametrize("is_stored", [False, True])
def test_a_broken_rule_rolls_everything_back_and_says_which(warehouse, rows, rule, is_stored):
    before = [sentiment_row()] if is_stored else []
    replace(warehouse, *before)
    with pytest.raises(RuleViolationError) as caught:
        replace(warehouse, *rows)
    error = caught.value
    assert (error.table, error.day, error.rule) == ("daily_sentiment", "2024-03-01", rule)
    assert error.violation_count == 1
    assert "en" in error.evidence or "null" in error.evidence
    assert stored(warehouse) == [(DAY, "shop", 1)] * len(before)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE daily_sentiment ADD COLUMN further VARCHAR",
        "ALTER TABLE daily_sentiment ALTER COLUMN mean_compound TYPE VARCHAR",
        "ALTER TABLE daily_sentiment RENAME COLUMN mean_compound TO compound",
    ],
)
def test_a_table_whose_columns_were_changed_is_not_sealed(warehouse, change):
    with warehouse.transaction() as transaction:
        transaction.connection.execute(change)
        with pytest.raises(RuleViolationError, match="schema_is_as_declared"):
            transaction.seal_days(DAILY_SENTIMENT, TODAY, {}, {})


def test_rows_written_beside_the_merge_are_audited_too(warehouse):
    replace(warehouse, sentiment_row())
    with warehouse.transaction() as transaction:
        transaction.connection.execute("INSERT INTO daily_sentiment SELECT * FROM daily_sentiment")
        with pytest.raises(RuleViolationError, match="key_is_unique"):
            transaction.seal_days(DAILY_SENTIMENT, TODAY, {}, {})


def test_a_sealed_day_tells_what_it_was_made_from(warehouse):
    _, write = replace(warehouse, sentiment_row())
    with warehouse.transaction() as transaction:
        found = transaction.connection.execute(
            "SELECT digest, row_count, made_from FROM day_versions"
        ).fetchall()
    assert found == [(write.digest, 1, '{"raw_feedback": "d1"}')]


# --- digests


def score(number: int, **changes: Any) -> dict[str, Any]:
    shares = dict.fromkeys(("negative", "neutral", "positive", "compound"), 0.5)
    row = {name: f"{name} {number}" for name in SENTIMENT_SCORES.column_names}
    times = {"posted_at": NOON, "scored_at": NOON}
    return {**row, **shares, **times, "label": "neutral", **changes}


def score_digest(warehouse: Warehouse, *rows: dict[str, Any]) -> tuple[int, str]:
    """Digest of sentiment_scores when it holds these rows, in this physical order."""
    with warehouse.transaction() as transaction:
        transaction.connection.execute("DELETE FROM sentiment_scores")
        for row in rows:
            places = ", ".join("?" * len(row))
            transaction.connection.execute(
                f"INSERT INTO sentiment_scores VALUES ({places})", list(row.values())
            )
        return transaction.digest(SENTIMENT_SCORES)


def test_a_digest_depends_on_content_alone(warehouse):
    one, two = score(1), score(2)
    digest = score_digest(warehouse, one, two)
    assert digest[0] == 2
    assert score_digest(warehouse, two, one) == digest
    assert score_digest(warehouse, {**one, "scored_at": NOON + timedelta(1)}, two) == digest


def test_a_digest_changes_with_every_column_that_is_not_volatile(warehouse):
    base = score(1)
    digests = [score_digest(warehouse, base)]
    for name, value in base.items():
        other = {str: f"{value} ", float: 0.25, datetime: NOON + timedelta(microseconds=1)}[
            type(value)
        ]
        if not SENTIMENT_SCORES.by_name[name].is_volatile:
            digests.append(score_digest(warehouse, {**base, name: other}))
    digests += [score_digest(warehouse), score_digest(warehouse, base, base)]
    assert len(set(digests)) == len(SENTIMENT_SCORES.columns) - 1 + 3


def test_a_digest_tells_null_from_text_and_values_between_columns_apart(warehouse):
    rows = [
        sentiment_row(feed="a", language="b"),
        sentiment_row(feed="ab", language=""),
        sentiment_row(feed="a|b", language="c"),
        sentiment_row(feed="a", language="b|c"),
        sentiment_row(mean_compound=0.0),
        sentiment_row(mean_compound=None),
    ]
    assert len({replace(warehouse, row)[1].digest for row in rows}) == len(rows)


def test_a_digest_tells_null_from_empty_text(warehouse):
    columns = [Column("first", "VARCHAR", ""), Column("second", "VARCHAR", "")]
    rows = ["NULL, NULL", "NULL, ''", "'', NULL", "'', ''", "'|', NULL", "NULL, '|'"]
    with warehouse.transaction() as transaction:
        digests = {
            transaction.digest_of(
                f"(SELECT * FROM (VALUES ({row})) AS t (first, second))", columns, "TRUE", []
            )
            for row in rows
        }
    assert len(digests) == len(rows)


def test_a_day_says_whether_it_changed(warehouse):
    assert replace(warehouse, sentiment_row())[1].changed
    assert not replace(warehouse, sentiment_row())[1].changed
    assert replace(warehouse, sentiment_row(post_count=2))[1].changed


# --- refreshing a day


def refresh(warehouse: Warehouse, compute: Any) -> list[DayWrite]:
    """Refresh daily_sentiment from the digest of raw_feedback."""

    def write(transaction: Transaction, table: pa.Table, made_from: Any) -> list[DayWrite]:
        counts = transaction.merge_days(DAILY_SENTIMENT, TODAY, table)
        return transaction.seal_days(DAILY_SENTIMENT, TODAY, counts, made_from)

    return warehouse.refresh_days(
        TODAY,
        inputs=["raw_feedback"],
        read=lambda transaction: transaction.digests(["raw_feedback"], TODAY)[DAY]["raw_feedback"],
        compute=compute,
        write=write,
    )


def move_input(warehouse: Warehouse, digest: str) -> None:
    with warehouse.transaction() as transaction:
        transaction.connection.execute("DELETE FROM day_versions WHERE table_name = 'raw_feedback'")
        transaction.connection.execute(
            "INSERT INTO day_versions VALUES ('raw_feedback', ?, ?, 0, '{}', now())", [DAY, digest]
        )


def test_a_day_is_computed_again_when_its_input_moved_meanwhile(warehouse):
    seen: list[str] = []

    def compute(digest: str) -> pa.Table:
        seen.append(digest)
        if len(seen) == 1:
            move_input(warehouse, "moved")
        return sentiment_table(sentiment_row(feed=digest or "old"))

    refresh(warehouse, compute)
    assert seen == ["", "moved"]
    assert stored(warehouse) == [(DAY, "moved", 1)]


def test_a_day_whose_input_never_rests_is_given_up_unwritten(warehouse):
    moves: list[str] = []

    def compute(_: str) -> pa.Table:
        moves.append(f"move {len(moves)}")
        move_input(warehouse, moves[-1])
        return sentiment_table(sentiment_row())

    with pytest.raises(InputMovedError, match="raw_feedback of 2024-03-01"):
        refresh(warehouse, compute)
    assert len(moves) == REFRESH_ATTEMPTS
    assert stored(warehouse) == []


def test_others_can_write_while_a_day_is_computed(warehouse):
    def compute(_: str) -> pa.Table:
        run(WRITE_FROM_PROCESSES, warehouse.database, 1)
        return sentiment_table(sentiment_row())

    refresh(warehouse, compute)
    assert feeds(warehouse) == ["0-0", "0-1", "0-2"]


# --- days


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_day_is_the_half_open_window_in_utc_whatever_the_session(warehouse, zone):
    midnight = datetime(2024, 3, 1, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    inside = [midnight, NOON, midnight + timedelta(days=1) - tick]
    outside = [midnight - tick, midnight + timedelta(days=1)]
    with warehouse.transaction() as transaction:
        transaction.connection.execute(f"SET TimeZone = '{zone}'")
        for number, at in enumerate([*inside, *outside]):
            transaction.connection.execute(
                "INSERT INTO sentiment_scores (feedback_id, posted_at, scored_text_hash, model_name,"
                " model_version, model_fingerprint, negative, neutral, positive, compound, label,"
                " scored_at) VALUES (?, ?, '', '', '', '', 0, 0, 0, 0, 'neutral', now())",
                [str(number), at],
            )
        where, bounds = days_filter(SENTIMENT_SCORES, TODAY)
        found = transaction.arrow(f"SELECT feedback_id FROM sentiment_scores WHERE {where}", bounds)
        assert sorted(found["feedback_id"].to_pylist()) == ["0", "1", "2"]
        by_expression = transaction.arrow(
            f"SELECT feedback_id FROM sentiment_scores WHERE {RAW_FEEDBACK.day_expression()} = ?",
            [DAY],
        )
        assert sorted(by_expression["feedback_id"].to_pylist()) == ["0", "1", "2"]


def test_a_table_without_a_day_has_no_day_filter():
    with pytest.raises(ValueError, match="dim_feed has no day column"):
        days_filter(DIM_FEED, TODAY)
    assert days_filter(CLEANED_FEEDBACK, TODAY, "t.")[0] == "t.posted_at >= ? AND t.posted_at < ?"


def test_a_row_of_long_text_weighs_as_several(warehouse):
    other = DAY + timedelta(1)
    replace(warehouse, sentiment_row(), sentiment_row(feed="b" * 4_000))
    replace(warehouse, sentiment_row(date=other), day=other)
    weights = warehouse.text_weights(DAILY_SENTIMENT, DaySpan(DAY, other), "feed")
    assert weights == {DAY: 10, other: 1}


def test_the_same_trouble_raises_one_alert(warehouse):
    trouble = Trouble("check_failed", "raw_feedback: key_is_unique", "1 row", DAY)
    assert warehouse.raise_alert(trouble)
    assert not warehouse.raise_alert(trouble)
    assert warehouse.raise_alert(dataclasses.replace(trouble, day=None))


def test_the_lock_is_private_and_names_its_holder_while_it_is_held(warehouse):
    assert warehouse.lock.holder() == "nobody known"
    with warehouse.transaction():
        assert warehouse.lock.holder().startswith(f"process {os.getpid()} (")
    assert warehouse.lock.holder() == "nobody known"
    assert warehouse.lock.path.stat().st_mode & 0o077 == 0
