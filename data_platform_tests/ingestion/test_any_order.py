"""Files of posts, edits, deletions and repetitions, in any order, split and format, end in the same rows."""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from data_platform.ingestion.collect import OpenDays, collect_files
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.ledger import Ledger
from data_platform.ingestion.raw import load_days
from data_platform.schemas import RAW_FEEDBACK, TABLES
from data_platform.storage.days import DaySpan
from data_platform.storage.landing import LandingZone
from data_platform.storage.warehouse import Transaction
from data_platform_tests.ingestion.conftest import file_feed
from data_platform_tests.ingestion.test_raw import drop_temporary_tables

NAMES = ("id", "at", "text", "edited", "deleted", "event", "likes")
FIELDS = dict(
    zip(
        ("source_id", "posted_at", "body", "edited_at", "is_deleted", "change", "like_count"),
        NAMES,
        strict=True,
    )
)
OPEN = OpenDays(date(2024, 3, 1), date(2024, 3, 9))
Record = dict[str, str]

POSTS = st.fixed_dictionaries(
    {
        "id": st.sampled_from("123"),
        "at": st.sampled_from(["2024-03-01T10:00:00Z", "2024-03-02T10:00:00Z"]),
        "text": st.sampled_from(["good", "bad"]),
        "edited": st.sampled_from(["", "", "2024-03-03", "2024-03-04"]),
        "likes": st.sampled_from(["", "1", "2"]),
    }
)
DELETIONS = st.one_of(
    st.fixed_dictionaries({"id": st.sampled_from("12"), "event": st.just("delete")}),
    st.fixed_dictionaries(
        {
            "id": st.sampled_from("12"),
            "at": st.sampled_from(["2024-03-02T10:00:00Z", "1970-01-01", "2031-01-01"]),
            "deleted": st.just("true"),
        }
    ),
)
# A record and the day on which its source showed it.
OBSERVED = st.tuples(st.one_of(POSTS, POSTS, POSTS, DELETIONS), st.integers(4, 6))


@st.composite
def two_ways(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """The same records in two ways: other files, other order, some again; each with its formats."""
    records = draw(st.lists(OBSERVED, min_size=1, max_size=7))

    def files(items: Sequence[tuple[Record, int]]) -> list[tuple[list[Record], int, str]]:
        found: list[tuple[list[Record], int, str]] = []
        for record, observed in items:
            if found and found[-1][1] == observed and draw(st.booleans()):
                found[-1][0].append(record)
            else:
                found.append(([record], observed, draw(st.sampled_from(["csv", "ndjson", "json"]))))
        return found

    again = draw(st.lists(st.sampled_from(records), max_size=2))
    return files(records), files([*draw(st.permutations(records)), *again])


def write(path: Path, records: Sequence[Record], observed: int) -> None:
    """Write a file that differs from every other: a copy of a file is no new observation."""
    records = [{**record, "export": path.stem} for record in records]
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, [*NAMES, "export"], restval="")
        writer.writeheader()
        writer.writerows(records)
        path.write_text(text.getvalue())
    elif path.suffix == ".json":
        path.write_text(json.dumps([dict.fromkeys(NAMES, None) | record for record in records]))
    else:
        lines = [json.dumps(dict.fromkeys(NAMES, "") | record) for record in records]
        path.write_text("\n".join(lines))
    moment = datetime(2024, 3, observed, 12, tzinfo=UTC).timestamp()
    os.utime(path, (moment, moment))


def rows_after(files: Sequence[tuple[list[Record], int, str]]) -> list[tuple[Any, ...]]:
    """Write, collect and load one file after the other; return what raw_feedback says."""
    home = Path(tempfile.mkdtemp())
    (home / "incoming").mkdir()
    landing, ledger = LandingZone(home / "landing"), Ledger(home / "landing" / "ledger.sqlite")
    connector = FileConnector(file_feed(fields=FIELDS), home)
    columns = ", ".join(c.name for c in RAW_FEEDBACK.columns if not c.is_volatile)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in TABLES.values():
            connection.execute(table.ddl)
        for number, (records, observed, suffix) in enumerate(files):
            write(home / "incoming" / f"{number}.{suffix}", records, observed)
            found = collect_files(connector, landing, ledger, author_key=b"k" * 32, open_days=OPEN)
            assert (found.errors, found.refused_count) == ([], 0)
            landed = sorted(found.landed_by_day, reverse=bool(number % 2))
            together = [DaySpan.around(landed)] if number % 3 == 0 and landed else []
            for days in together or map(DaySpan.of, landed):
                load_days(Transaction(connection), landing, ["shop"], days)
                drop_temporary_tables(connection)
        rows = connection.execute(f"SELECT {columns} FROM raw_feedback ORDER BY ALL").fetchall()
    shutil.rmtree(home)
    return rows


@settings(deadline=None, max_examples=15)
@given(two_ways())
def test_any_order_split_and_format_of_files_ends_in_the_same_rows(ways):
    one, other = ways
    assert rows_after(one) == rows_after(other)
