"""Times the way of posts from a file of JSON lines to daily_sentiment, through the assets, Dagster included.

    python -m benchmarks.end_to_end [--posts 1000000] [--days 30] [--runs 3]

Each run starts with an empty home in a process of its own. Beside it, in the same run, the way of
the tutorials on a sample: pandas, a few regular expressions and NLTK row by row; and what DuckDB
alone needs to read the file into a table.
"""

import argparse
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from benchmarks.posts import opened, settings_of, write_posts
from benchmarks.results import save, show

LAST_DAY = date(2026, 6, 30)
TUTORIAL_POSTS = 20_000
WAYS = {"language stated by the source": "en", "language identified": None}


def main() -> None:
    """Measure both ways, or be one run of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("HOME", "LANGUAGE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        home, language = arguments.measure
        print(json.dumps(run_once(Path(home), arguments.days, language or None)))
        return
    with tempfile.TemporaryDirectory(prefix="end-to-end-") as folder:
        compare(Path(folder), arguments.posts, arguments.days, arguments.runs)


def compare(folder: Path, posts: int, days: int, runs: int) -> None:
    """Print the tables, and keep the figures."""
    source = folder / "posts.ndjson"
    write_posts(source, posts, LAST_DAY, days)
    tutorial = tutorial_seconds(source) / TUTORIAL_POSTS * posts
    reading = duckdb_seconds(source, folder / "limit.duckdb")
    found = {
        way: [child(source, days, language) for _ in range(runs)] for way, language in WAYS.items()
    }
    rows: list[tuple[object, ...]] = [
        ("pandas and NLTK, row by row (a sample)", tutorial, "", "", 1.0)
    ]
    for way, measured in found.items():
        seconds, cpu, peak = (
            statistics.median(one[key] for one in measured)
            for key in ("seconds", "cpu_seconds", "peak_mb")
        )
        rows.append((way, seconds, cpu, peak, tutorial / seconds))
    title = f"End to end: {posts:,} posts of {days} days, median of {runs} runs"
    show(title, ("way", "seconds", "CPU-seconds", "peak MB", "x tutorial"), rows)
    stages = [
        (stage, *(statistics.median(one["stages"][stage] for one in found[way]) for way in WAYS))
        for stage in found[next(iter(WAYS))][0]["stages"]
    ]
    show("Seconds by stage", ("stage", *WAYS), stages)
    print(f"\nDuckDB alone reads the file into a table in {reading:.1f} s.")
    _, stated, identified = rows
    save(
        {
            "end_to_end.seconds_1m": float(str(stated[1])) / posts * 1e6,
            "end_to_end.seconds_1m_identified": float(str(identified[1])) / posts * 1e6,
            "end_to_end.peak_mb": float(str(stated[3])),
            "end_to_end.ratio_tutorial": float(str(stated[4])),
        }
    )


def child(source: Path, days: int, language: str | None) -> dict[str, Any]:
    """Run once in a process and a home of its own."""
    home = Path(tempfile.mkdtemp(dir=source.parent))
    (home / source.name).symlink_to(source)
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--days", str(days), "--measure"]
    ran = subprocess.run(  # noqa: S603 (this program)
        [*command, str(home), language or ""], capture_output=True, text=True, check=True
    )
    shutil.rmtree(home)
    measured: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return measured


def run_once(home: Path, days: int, language: str | None) -> dict[str, Any]:
    """Collect and refresh everything; return seconds, by stage too, and the peak of the memory."""
    from data_platform.automation.refresh import RefreshOutcome
    from data_platform.storage.days import days_between

    first = LAST_DAY - timedelta(days=days - 1)
    settings = settings_of(home, first, language)
    outcome = RefreshOutcome()
    with opened(settings) as refresher:
        started, cpu = time.monotonic(), time.process_time()
        refresher.collect([["posts"]], [], outcome)
        refresher.refresh(list(days_between(first, LAST_DAY)), outcome)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        stages = {}
        for run in reversed(refresher.instance.get_runs()):
            for step in refresher.instance.get_run_step_stats(run.run_id):
                stages[step.step_key] = (step.end_time or 0) - (step.start_time or 0)
    if outcome.failures:
        raise SystemExit("\n".join(outcome.failures))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    stages["Dagster besides"] = seconds - sum(stages.values())
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak_mb, "stages": stages}


def tutorial_seconds(source: Path) -> float:
    """Time what tutorials do with the first posts: read, clean, score, add up."""
    from data_platform.sentiment.vader import load_analyzer

    analyzer = load_analyzer()
    started = time.monotonic()
    posts = pd.read_json(source, lines=True, nrows=TUTORIAL_POSTS, dtype={"post_id": str})
    posts["clean"] = posts["text"].apply(_clean_like_a_tutorial)
    posts["compound"] = posts["clean"].apply(
        lambda text: analyzer.polarity_scores(text)["compound"]
    )
    posts["day"] = pd.to_datetime(posts["created_at"], utc=True).dt.date
    posts.groupby("day")["compound"].agg(["count", "mean"])
    return time.monotonic() - started


def _clean_like_a_tutorial(text: str) -> str:
    for pattern in (r"https?://\S+", r"@\w+", r"#", r"<[^>]+>"):
        text = re.sub(pattern, "", text)
    return re.sub(r"\s+", " ", text).strip()


def duckdb_seconds(source: Path, database: Path) -> float:
    """Time DuckDB's own reader into a file: no engine that stores the posts is faster."""
    columns: Sequence[str] = tuple(json.loads(source.open(encoding="utf-8").readline()))
    types = ", ".join(f"{name}: 'VARCHAR'" for name in columns)
    started = time.monotonic()
    with duckdb.connect(str(database)) as connection:
        connection.execute(
            f"CREATE TABLE posts AS FROM read_json(?, columns = {{{types}}},"
            " format = 'newline_delimited')",
            [str(source)],
        )
    return time.monotonic() - started


if __name__ == "__main__":
    main()
