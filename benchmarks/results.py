"""Where benchmarks write what they measured: a table on the terminal, and results.json."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")
LIBRARIES = ("dagster", "duckdb", "pyarrow", "numpy", "nltk")


def machine() -> str:
    """Return processor, cores, Python and the versions of the libraries that matter."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{processor}, {os.cpu_count()} cores, load {load:.1f}; Python {python}, {libraries}"


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n{machine()}\n")
    print("| " + " | ".join(header) + " |")
    print("| " + " | ".join("---" for _ in header) + " |")
    for row in rows:
        cells = (
            f"{cell:,.{1 if abs(cell) >= 10 else 2}f}" if isinstance(cell, float) else str(cell)
            for cell in row
        )
        print("| " + " | ".join(cells) + " |")


def save(values: Mapping[str, float]) -> None:
    """Add measurements to results.json, by keys such as `scoring.ratio_warm_1`."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known |= {key: round(value, 3) for key, value in values.items()} | {"machine": machine()}
    RESULTS.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n", encoding="utf-8")
