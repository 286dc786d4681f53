"""Times VADER: NLTK and vaderSentiment one text at a time, against the platform's batches.

    python -m benchmarks.scoring [--airline FILE.csv] [--texts 100000] [--runs 5]

Cold: empty tables, each text once. Warm: the same texts again. Medians of several runs; one thread
is measured in CPU-seconds, two in seconds of the clock, each beside NLTK in the same run.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer as OriginalAnalyzer

from benchmarks.results import save, show
from data_platform.cleaning.text import clean_text
from data_platform.sample import iterate_posts
from data_platform.sentiment.vader import VaderModel, load_analyzer

ONE_BY_ONE_TEXTS = 4_000


def main() -> None:
    """Measure generated texts, and the airline tweets if their file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000, help="generated texts")
    parser.add_argument("--airline", type=Path, help="CSV with a column named text")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    measured = measure("generated posts", list(generated(arguments.texts)), arguments.runs)
    if arguments.airline:
        csv.field_size_limit(10_000_000)
        with arguments.airline.open(encoding="utf-8", newline="") as stream:
            tweets = [row["text"] for row in csv.DictReader(stream)]
        measured |= {
            key.replace("scoring.", "scoring.airline_"): value
            for key, value in measure("airline tweets", tweets, arguments.runs).items()
        }
    save(measured)


def generated(count: int) -> Iterator[str]:
    """Yield different cleaned texts of made-up posts."""
    seen: set[str] = set()
    for batch in iterate_posts(3 * count, date(2026, 6, 30), days=30):
        for text in clean_text(batch["text"]).body_clean.to_pylist():
            if text not in seen:
                seen.add(text)
                yield text
            if len(seen) == count:
                return
    message = f"only {len(seen)} different texts were generated"
    raise SystemExit(message)


def measure(title: str, texts: Sequence[str], runs: int) -> dict[str, float]:
    """Time each way of scoring; print the table, and return the ratios to NLTK."""
    column = pa.array(texts, pa.string())
    few = texts[:: max(1, len(texts) // ONE_BY_ONE_TEXTS)][:ONE_BY_ONE_TEXTS]
    nltk, original = load_analyzer(), OriginalAnalyzer()
    cold: list[VaderModel] = []

    def score_cold() -> None:
        cold.append(VaderModel())
        cold[-1].score(column)

    warm = {threads: VaderModel(threads) for threads in (1, 2)}
    for model in warm.values():
        model.score(column)
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "NLTK, one by one": (lambda: [nltk.polarity_scores(text) for text in few], len(few)),
        "vaderSentiment, one by one": (
            lambda: [original.polarity_scores(text) for text in few],
            len(few),
        ),
        "batches, cold, 1 thread": (score_cold, len(texts)),
        "batches, warm, 1 thread": (lambda: warm[1].score(column), len(texts)),
        "batches, warm, 2 threads": (lambda: warm[2].score(column), len(texts)),
    }
    by_cpu: dict[str, list[float]] = {name: [] for name in ways}
    by_clock: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):  # in turn, so that what else the machine does meets all of them
        for name, (way, count) in ways.items():
            cpu, clock = time.process_time(), time.perf_counter()
            way()
            by_cpu[name].append(count / (time.process_time() - cpu))
            by_clock[name].append(count / (time.perf_counter() - clock))
    cpu_rate = {name: statistics.median(rates) for name, rates in by_cpu.items()}
    clock_rate = {name: statistics.median(rates) for name, rates in by_clock.items()}
    base = "NLTK, one by one"
    show(
        f"Scoring: {len(texts):,} {title}, mean {sum(map(len, texts)) / len(texts):.0f} characters",
        ("way", "texts per CPU-second", "x NLTK", "texts per second", "x NLTK"),
        [
            (
                name,
                f"{cpu_rate[name]:,.0f}",
                cpu_rate[name] / cpu_rate[base],
                f"{clock_rate[name]:,.0f}",
                clock_rate[name] / clock_rate[base],
            )
            for name in ways
        ],
    )
    return {
        "scoring.ratio_cold_1": cpu_rate["batches, cold, 1 thread"] / cpu_rate[base],
        "scoring.ratio_warm_1": cpu_rate["batches, warm, 1 thread"] / cpu_rate[base],
        "scoring.ratio_warm_2": clock_rate["batches, warm, 2 threads"] / clock_rate[base],
    }


if __name__ == "__main__":
    main()
