"""Times the first start: loading the code location, and `data-platform run` on the embedded sample.

python -m benchmarks.first_start [--runs 5]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import save, show

PROGRAM = Path(sys.executable).with_name("data-platform")
LOAD = """
import dagster as dg
from data_platform.definitions import build_definitions, load_settings
dg.Definitions.validate_loadable(build_definitions(load_settings()))
"""
WAYS = {
    "load the code location": [sys.executable, "-c", LOAD],
    "data-platform --help": [str(PROGRAM), "--help"],
    "data-platform run, on the sample": [str(PROGRAM), "run"],
    "data-platform run, again": [str(PROGRAM), "run"],
}


def main() -> None:
    """Measure each way in processes of their own; every first run has an empty home."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory(prefix="first-start-") as home:
            for way, command in WAYS.items():
                found[way].append(measure(command, home))
    rows = [
        (way, *map(statistics.median, zip(*times, strict=True))) for way, times in found.items()
    ]
    show(f"First start, median of {arguments.runs}", ("what", "seconds", "CPU-seconds"), rows)
    save({"first_start.code_location_cpu_seconds": float(rows[0][2])})


def measure(command: list[str], home: str) -> tuple[float, float]:
    """Return seconds and CPU-seconds of a command."""
    environment = os.environ | {"DATA_PLATFORM_HOME": home, "DAGSTER_HOME": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    subprocess.run(command, env=environment, capture_output=True, check=True)  # noqa: S603 (ours)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used


if __name__ == "__main__":
    main()
