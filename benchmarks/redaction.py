"""Times the cleaning of posts with and without the redaction of personal data.

    python -m benchmarks.redaction [--posts 100000] [--runs 5]

The same posts each time, language stated, one thread, CPU-seconds, medians. Once as generated (whose
share with digits is that of the sample) and once with a mail address and a phone number in every tenth,
which is far more than people write.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.results import save, show
from data_platform.cleaning.posts import clean_posts
from data_platform.cleaning.privacy import NOTHING, Redaction
from data_platform.sample import iterate_posts
from data_platform.settings import CleaningOptions

PLANTED = " Write to jane.doe@mailbox.example or call 212-555-0123."


def main() -> None:
    """Measure both sets of posts; print the table, and keep the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    options = CleaningOptions()
    configured = Redaction(frozenset(options.redact), options.phone_regions, options.national_ids)
    posts = generated(arguments.posts)
    every_tenth = pa.array(PLANTED if n % 10 == 0 else "" for n in range(len(posts)))
    planted = pc.binary_join_element_wise(posts["body"], every_tenth, "")
    sets = {
        "as generated": posts,
        "personal data in every tenth": posts.set_column(
            posts.column_names.index("body"), "body", planted
        ),
    }
    rows: list[tuple[object, ...]] = []
    ratios: dict[str, float] = {}
    for name, table in sets.items():
        without, with_ = medians(
            arguments.runs, lambda t=table: clean(t, NOTHING), lambda t=table: clean(t, configured)
        )
        rows.append((name, f"{len(table) / without:,.0f}", f"{len(table) / with_:,.0f}"))
        rows[-1] = (*rows[-1], with_ / without)
        ratios[f"redaction.ratio_{'generated' if name == 'as generated' else 'tenth'}"] = (
            with_ / without
        )
    title = f"Redaction: cleaning of {len(posts):,} posts, median of {arguments.runs} runs"
    header = ("posts", "per CPU-second without", "per CPU-second with", "x the time without")
    show(title, header, rows)
    save(ratios)


def generated(count: int) -> pa.Table:
    """Return made-up posts as rows of raw_feedback, as far as cleaning reads them."""
    batches = list(iterate_posts(count, date(2026, 6, 30), days=30))
    texts = pa.chunked_array([batch["text"] for batch in batches]).combine_chunks()
    size = len(texts)
    return pa.table(
        {
            "feedback_id": pa.array(str(n) for n in range(size)),
            "feed": pa.repeat("posts", size),
            "content_hash": pa.repeat("0" * 64, size),
            "author_id": pa.nulls(size, pa.string()),
            "posted_at": pa.repeat(pa.scalar(0, pa.timestamp("us", tz="UTC")), size),
            "title": pa.nulls(size, pa.string()),
            "body": texts,
            "language_hint": pa.repeat("en", size),
        }
    )


def clean(posts: pa.Table, redaction: Redaction) -> None:
    """Clean all posts."""
    clean_posts(posts, default_languages={}, min_campaign_chars=40, redaction=redaction)


def medians(runs: int, *ways: Callable[[], None]) -> list[float]:
    """Return the median CPU-seconds of each way, taken in turns."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(runs):
        for way, taken in zip(ways, seconds, strict=True):
            began = time.process_time()
            way()
            taken.append(time.process_time() - began)
    return [statistics.median(taken) for taken in seconds]


if __name__ == "__main__":
    main()
