"""Exports as their users meet them: by the command line, and as an asset."""

import csv
import io
import stat
import subprocess

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_platform.automation.instance import open_instance
from data_platform_tests.pipeline.conftest import COMMAND, SHOP, Platform

FIRST = [
    {"id": "1", "at": "2026-03-02T10:00:00Z", "text": "I love the new shop", "user": "ann"},
    {"id": "2", "at": "2026-03-03T10:00:00Z", "text": "=1+1 is terrible", "user": "bo"},
]
SECOND = [{"id": "3", "at": "2026-03-04T10:00:00Z", "text": "Lovely coffee", "user": "cy"}]

WRITES_WHERE_TOLD = pytest.mark.parametrize(
    "command",
    [
        ("export", "feedback", "--format", "csv", "--output"),
        ("export", "--author", "@ann", "--output"),
        ("report", "--output"),
        ("metrics", "--textfile"),
    ],
    ids=" ".join,
)


def test_each_format_is_written_by_its_ending(sample, tmp_path):
    platform, summary = sample
    for name in ("a.parquet", "a.csv", "a.arrow"):
        said = platform.cli("export", "feedback", "--output", str(tmp_path / name))
        assert said.startswith(f"feedback: {summary['post_count']:,} rows, ")
        assert said.strip().endswith(f"s: {tmp_path / name}")
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    table = pq.read_table(tmp_path / "a.parquet")
    with pa.ipc.open_file(tmp_path / "a.arrow") as reader:
        assert reader.read_all().equals(table)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [row["feedback_id"] for row in rows] == table["feedback_id"].to_pylist()
    assert [row["compound"] for row in rows] == [
        "" if value is None else str(value) for value in table["compound"].to_pylist()
    ]


def test_days_and_feeds_are_chosen(sample, tmp_path):
    platform, _ = sample
    [(first, last)] = platform.published("SELECT max(date) - 6, max(date) - 3 FROM feedback")
    path = tmp_path / "some.parquet"
    chosen = ("--from", str(first), "--to", str(last), "--feed", "larkwing_social")
    platform.cli("export", "feedback", *chosen, "--output", str(path))
    rows = pq.read_table(path)
    assert set(rows["date"].to_pylist()) == {
        day for (day,) in platform.published("SELECT date FROM dim_date") if first <= day <= last
    }
    assert set(rows["feed"].to_pylist()) == {"larkwing_social"}


def test_standard_output_takes_csv_and_nothing_else(sample):
    platform, _ = sample
    command = [COMMAND, "export", "weekly_sentiment", "--output", "-"]
    done = subprocess.run(command, env=platform.environment, capture_output=True, check=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert platform.published("SELECT count(*) FROM weekly_sentiment") == [(len(rows),)]
    assert done.stderr.decode().startswith(f"weekly_sentiment: {len(rows)} rows, ")
    assert "takes CSV only" in platform.cli(*command[1:], "--format", "parquet", code=2)


def test_without_an_output_the_file_stands_in_this_folder(sample, tmp_path, monkeypatch):
    platform, _ = sample
    monkeypatch.chdir(tmp_path)
    platform.cli("export", "daily_sentiment")
    platform.cli("export", "incidents", "--format", "csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "daily_sentiment.parquet",
        "incidents.csv",
    ]


def test_an_empty_result_is_a_file_with_a_header(sample, tmp_path):
    platform, _ = sample
    path = tmp_path / "none.csv"
    said = platform.cli("export", "feedback", "--to", "1999-01-01", "--output", str(path))
    assert said.startswith("feedback: 0 rows, ")
    assert path.read_text(encoding="utf-8").startswith("date,posted_at,feedback_id,feed,")
    assert path.read_text(encoding="utf-8").count("\n") == 1


def test_what_can_be_exported_is_listed(sample):
    platform, summary = sample
    listed = platform.cli("export", "--list")
    assert "feedback " in listed
    assert f"{summary['post_count']:,}" in listed
    assert "One row per post that is not deleted" in " ".join(listed.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "data-platform export --list shows them"),
        (["feedbak"], "did you mean feedback?"),
        (["feedback", "--from", "soon"], "'soon' does not match the format '%Y-%m-%d'"),
        (["feedback", "--from", "2026-03-02", "--to", "2026-03-01"], "is before the first"),
        (["weekly_sentiment", "--from", "2026-03-02"], "has no column of days"),
        (["feedback", "--feed", "larkwing"], "did you mean larkwing_social?"),
        (["feedback", "--output", "a.xlsx"], "give one with --format"),
        (["feedback", "--format", "xlsx"], "'xlsx' is not one of"),
    ],
)
def test_a_mistake_is_told_and_writes_nothing(sample, tmp_path, monkeypatch, arguments, message):
    platform, _ = sample
    monkeypatch.chdir(tmp_path)
    assert message in " ".join(platform.cli("export", *arguments, code=2).split())
    assert list(tmp_path.iterdir()) == []


@WRITES_WHERE_TOLD
def test_no_output_takes_the_place_of_what_the_platform_keeps(sample, tmp_path, command):
    platform, _ = sample
    link = tmp_path / "link.csv"
    link.symlink_to(platform.home / "warehouse.duckdb")
    names = ("author.key", "landing/ledger.sqlite", "dagster/dagster.yaml", "published/new.csv")
    for place in (link, *(platform.home / name for name in names)):
        before = place.read_bytes() if place.exists() else None
        said = " ".join(platform.cli(*command, str(place), code=2).split())
        assert "keeps its own files; nothing was written. Choose a file outside of" in said
        assert (place.read_bytes() if place.exists() else None) == before


@WRITES_WHERE_TOLD
def test_a_place_where_no_file_can_be_is_told(sample, tmp_path, command):
    platform, _ = sample
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "x", "/proc/x"):
        said = " ".join(platform.cli(*command, str(place), code=2).split())
        assert f"{place} cannot be written: " in said
        assert "; choose another output." in said


def test_before_the_first_run_the_message_says_what_to_do(shop):
    assert "Nothing is published yet; data-platform run" in shop.cli("export", "feedback", code=2)
    assert "Nothing is published yet; data-platform run" in shop.cli("export", "--list", code=2)


@pytest.fixture
def exporting(tmp_path):
    """A shop whose posts are exported for two readers."""
    exports = [
        {"table": "feedback"},
        {"table": "feedback", "format": "csv", "path": "for_sheets", "days": 1},
    ]
    return Platform(tmp_path, {**SHOP, "exports": exports})


def numbers_of(platform):
    """Return the metadata of the latest materialization of feedback_export."""
    with open_instance(platform.home / "dagster") as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("feedback_export"))
    assert event is not None
    return {name: found.value for name, found in event.asset_materialization.metadata.items()}


def test_configured_files_follow_each_run(exporting):
    whole = exporting.home / "exports" / "feedback.parquet"
    latest = exporting.folder / "for_sheets" / "feedback.csv"
    exporting.deliver("a.csv", FIRST, day=1)
    exporting.run()
    assert pq.read_table(whole)["body_clean"].to_pylist() == [
        "I love the new shop",
        FIRST[1]["text"],
    ]
    assert "'=1+1 is terrible" in latest.read_text(encoding="utf-8")
    assert "I love" not in latest.read_text(encoding="utf-8")
    by_hand = whole.with_name("by_hand.csv")
    exporting.cli("export", "feedback", "--output", str(by_hand))
    assert "I love" in by_hand.read_text(encoding="utf-8")
    exporting.deliver("b.csv", SECOND, day=2)
    exporting.run()
    assert pq.read_table(whole).num_rows == 3
    assert "Lovely coffee" in latest.read_text(encoding="utf-8")
    assert "terrible" not in latest.read_text(encoding="utf-8")
    numbers = numbers_of(exporting)
    assert numbers["exports/feedback.parquet_path"] == str(whole)
    assert numbers["exports/feedback.parquet_rows"] == 3
    assert numbers["exports/feedback.parquet_bytes"] == whole.stat().st_size
    assert numbers["for_sheets/feedback.csv_rows"] == 1
    assert not any("coffee" in str(value) for value in numbers.values())


def test_a_file_that_cannot_be_written_fails_the_run_and_holds_up_no_other(exporting):
    """Its place is taken by a folder."""
    (exporting.home / "exports" / "feedback.parquet").mkdir(parents=True)
    exporting.deliver("a.csv", FIRST, day=1)
    said = exporting.cli("run", code=1)
    assert "feedback_export: " in said
    assert "feedback.parquet is no file that could be replaced" in " ".join(said.split())
    assert (exporting.folder / "for_sheets" / "feedback.csv").exists()
