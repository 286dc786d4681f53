"""The sample of one day, written once, and read back the way its configuration says."""

import csv
import datetime as dt
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from data_platform.sample import SAMPLE_FEEDS, SampleSummary, write_sample

LAST_DAY = dt.date(2026, 10, 20)


@dataclass(frozen=True)
class Record:
    """One row of a file in the contract's names; `fault` says why it breaks the contract."""

    file: int
    values: dict[str, Any]
    posted_at: dt.datetime | None = None
    fault: str | None = None


@dataclass(frozen=True)
class WrittenSample:
    folder: Path
    summary: SampleSummary

    def delivered_at(self, feed: str) -> list[dt.datetime]:
        """Return the modification times of the feed's files, in order of delivery."""
        return [
            dt.datetime.fromtimestamp((self.folder / path).stat().st_mtime, dt.UTC)
            for path in self.summary.feeds[feed].files
        ]

    def records(self, feed: str) -> list[Record]:
        """Return all rows of a feed, judged without a look at what was planted."""
        config = next(config for config in SAMPLE_FEEDS if config["name"] == feed)
        start = dt.datetime.combine(self.summary.first_day, dt.time(), dt.UTC)
        return [
            judge(config, number, row, start)
            for number, path in enumerate(self.summary.feeds[feed].files)
            for row in read_rows(self.folder / path)
        ]

    def posts(self, feed: str) -> list[Record]:
        """Return the rows that keep the contract."""
        return [record for record in self.records(feed) if record.fault is None]


@pytest.fixture(scope="package")
def sample(tmp_path_factory: pytest.TempPathFactory) -> WrittenSample:
    folder = tmp_path_factory.mktemp("sample")
    return WrittenSample(folder, write_sample(folder, LAST_DAY))


def read_rows(path: Path) -> Iterator[dict[str, Any] | str]:
    """Yield the rows of a file; of a row that cannot be taken apart, the name of its fault."""
    if path.suffix == ".parquet":
        yield from pq.read_table(path).to_pylist()
        return
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    if path.suffix == ".ndjson":
        for line in text.splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                yield "malformed_json"
        return
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    for row in rows:
        if len(row) == len(header):
            yield dict(zip(header, row, strict=True))
        else:
            yield "too_few_columns"


def judge(
    config: dict[str, Any], file: int, row: dict[str, Any] | str, start: dt.datetime
) -> Record:
    if isinstance(row, str):
        return Record(file, {}, fault=row)
    values = {field: row.get(column) for field, column in config["fields"].items()}
    is_deletion = values.get("is_deleted") in (True, "true")
    try:
        posted_at = parse_time(config, values["posted_at"])
    except ValueError:
        return Record(file, values, fault="unreadable_date")
    fault = None
    if values["source_id"] in (None, ""):
        fault = "missing_id"
    elif values["body"] in (None, "") and not is_deletion:
        fault = "empty_body"
    elif posted_at.year == 2106:
        fault = "future_date"
    elif posted_at < start:
        fault = "date_before_first_day"
    return Record(file, values, posted_at, fault)


def parse_time(config: dict[str, Any], value: str | dt.datetime) -> dt.datetime:
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=ZoneInfo(config["timezone"])).astimezone(dt.UTC)
    if form := config.get("posted_at_format"):
        return dt.datetime.strptime(value, form).astimezone(dt.UTC)
    return dt.datetime.fromisoformat(value)
