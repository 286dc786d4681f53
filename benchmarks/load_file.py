"""Times the way of one large NDJSON file into raw_feedback, and measures the memory that it takes.

    python benchmarks/load_file.py --rows 5000000

Prints rows per second and peak memory of a process that collects the file and loads its days,
next to the named baseline: the same file read into pandas (at most --baseline-rows rows of it).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

LAST_DAY = date(2026, 6, 30)
DAYS = 50

LOAD = """
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.raw import load_day
from data_platform.settings import load_settings
from data_platform.storage.warehouse import Warehouse
settings = load_settings()
feeds = Feeds(settings)
collection = feeds.collect("posts")
warehouse = Warehouse(settings.warehouse_path)
for day in sorted(feeds.landed_days()):
    with warehouse.transaction() as transaction:
        load_day(transaction, feeds.landing, feeds.names, day)
with warehouse.transaction() as transaction:
    print(transaction.count("SELECT count(*) FROM raw_feedback"))
"""
BASELINE = """
import sys, pandas
print(len(pandas.read_json(sys.argv[1], lines=True, dtype={"post_id": str})))
"""


def main() -> None:
    """Write the file, then load it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--baseline-rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "posts.ndjson"
        write_posts(path, arguments.rows)
        size = path.stat().st_size / 1e9
        config = Path(folder) / "feedback.yaml"
        config.write_text(
            f"start_date: {LAST_DAY - timedelta(days=DAYS)}\n"
            "feeds:\n- {name: posts, kind: file, path: posts.ndjson, fields: {source_id: post_id,"
            " posted_at: created_at, body: text, author_handle: author, like_count: likes,"
            " share_count: reposts, reply_count: replies, url: permalink}}\n",
            encoding="utf-8",
        )
        environment = {
            **os.environ,
            "DATA_PLATFORM_CONFIG": str(config),
            "DATA_PLATFORM_HOME": str(Path(folder) / "data"),
        }
        few = Path(folder) / "few.ndjson"
        with path.open(encoding="utf-8") as stream, few.open("w", encoding="utf-8") as out:
            for _, line in zip(range(arguments.baseline_rows), stream, strict=False):
                out.write(line)
        seconds, peak, rows = measure([sys.executable, "-c", BASELINE, str(few)], environment)
        print(f"pandas.read_json    {rows:>9} rows  {rows / seconds:>9.0f} rows/s  {peak:.2f} GB")
        baseline = rows / seconds
        seconds, peak, rows = measure([sys.executable, "-c", LOAD], environment)
        print(f"collect + load days {rows:>9} rows  {rows / seconds:>9.0f} rows/s  {peak:.2f} GB")
        print(
            f"{size:.2f} GB of NDJSON in {seconds:.1f} s, {rows / seconds / baseline:.2f}x pandas"
        )


def write_posts(path: Path, rows: int) -> None:
    """Write `rows` made-up posts over 50 days as NDJSON."""
    from data_platform.sample import iterate_posts

    with path.open("w", encoding="utf-8") as stream:
        for batch in iterate_posts(rows, LAST_DAY, days=DAYS):
            for row in batch.to_pylist():
                stream.write(json.dumps(row, default=str, ensure_ascii=False) + "\n")


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float, int]:
    """Run `command`; return seconds, peak memory in GB, and the number that it prints."""
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{command[-2:]} failed")
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return seconds, peak, int(output.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
