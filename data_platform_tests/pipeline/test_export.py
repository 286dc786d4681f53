"""Exports as their users meet them: by the command line."""

import csv
import io
import stat
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_platform_tests.pipeline.conftest import COMMAND


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


def test_before_the_first_run_the_message_says_what_to_do(shop):
    assert "Nothing is published yet; data-platform run" in shop.cli("export", "feedback", code=2)
    assert "Nothing is published yet; data-platform run" in shop.cli("export", "--list", code=2)
