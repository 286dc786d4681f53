"""Any number of plausible posts in the columns of the feed `larkwing_social`, for benchmarks too."""

import datetime as dt
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.sample.composition import Drafts, Voice, compose, escape_entities
from data_platform.sample.phrases import SENTIMENTS, build_pool
from data_platform.sample.randomness import Integers, draw_below, stream
from data_platform.sample.timing import (
    HOUR_MS,
    SAMPLE_DAYS,
    are_on_days,
    draw_times,
    incident_days,
    weigh_days,
)

SOCIAL_VOICE = Voice(
    topic="flight",
    languages=(0.9, 0.04, 0.04, 0.02),
    sentiments=(0.27, 0.24, 0.37, 0.12),
    is_social=True,
)
SOCIAL_SCHEMA = pa.schema(
    {
        "post_id": pa.string(),
        "created_at": pa.string(),
        "author": pa.string(),
        "text": pa.string(),
        "likes": pa.int64(),
        "reposts": pa.int64(),
        "replies": pa.int64(),
        "permalink": pa.string(),
        "sentiment_label": pa.string(),
        "deleted": pa.string(),
    }
)
LABEL_SHARE, LABEL_NOISE = 0.1, 0.12
SNOWFLAKE_EPOCH_MS = 1_577_836_800_000  # 2020-01-01 UTC
SNOWFLAKE_BITS = 22  # below the milliseconds, as in the ids of the large social networks
OFFSET_HOURS = -8  # of the dates: 2026-10-24 11:35:52 -0800


def generate_posts(
    count: int, last_day: dt.date, days: int = SAMPLE_DAYS, seed: int = 7
) -> pa.Table:
    """Return `count` posts in `SOCIAL_SCHEMA`, ordered by time, with unique ids.

    Args:
        count: Number of posts.
        last_day: Last day (UTC) of posting.
        days: Number of days that end with `last_day`; the incident lies at three fifths.
        seed: Same arguments, same posts.
    """
    return pa.Table.from_batches(iterate_posts(count, last_day, days, seed), SOCIAL_SCHEMA)


def iterate_posts(
    count: int,
    last_day: dt.date,
    days: int = SAMPLE_DAYS,
    seed: int = 7,
    batch_rows: int = 100_000,
) -> Iterator[pa.RecordBatch]:
    """Yield the posts of `generate_posts` in batches, so that any number fits in memory.

    The texts depend on `batch_rows` too.
    """
    pool = build_pool(SOCIAL_VOICE.topic, seed)
    loud_days = incident_days(last_day, days)
    weights = weigh_days(last_day, days, seed, loud_days)
    for start in range(0, count, batch_rows):
        rng = stream(seed, f"posts from {start}")
        size = min(batch_rows, count - start)
        places = (start + np.arange(size) + rng.random(size)) / count
        written_ms = draw_times(places, last_day, weights)
        drafts = compose(SOCIAL_VOICE, pool, are_on_days(written_ms, loud_days), rng)
        yield social_posts(drafts, written_ms, start, rng)


def social_posts(
    drafts: Drafts, written_ms: Integers, start: int, rng: np.random.Generator
) -> pa.RecordBatch:
    """Return `drafts` as rows of `larkwing_social`; `start` counts the posts before them."""
    count = len(written_ms)
    sequence = (start + np.arange(count, dtype=np.int64)) * 2_654_435_761 % (1 << SNOWFLAKE_BITS)
    ids = ((written_ms - SNOWFLAKE_EPOCH_MS) << SNOWFLAKE_BITS) + sequence
    post_id = pc.cast(pa.array(ids), pa.string())
    local = (written_ms + OFFSET_HOURS * HOUR_MS).astype("datetime64[ms]")
    seconds = pa.array(np.datetime_as_string(local, unit="s").tolist(), pa.string())
    created_at = pc.replace_substring(seconds, "T", " ")
    likes, reposts, replies = (
        pa.array(draw_below(1, scale / (1.002 - rng.random(count)))) for scale in (1.5, 0.5, 0.3)
    )
    columns = {
        "post_id": post_id,
        "created_at": pc.binary_join_element_wise(created_at, f"{OFFSET_HOURS:+03d}00", " "),
        "author": drafts.author,
        "text": escape_entities(drafts.body),
        "likes": likes,
        "reposts": reposts,
        "replies": replies,
        "permalink": pc.binary_join_element_wise(
            "https://chirper.example/", drafts.author, "/status/", post_id, ""
        ),
        "sentiment_label": _draw_labels(drafts.sentiment, rng),
        "deleted": pa.array(["false"]).take(pa.array(np.zeros(count, dtype=np.int64))),
    }
    return pa.record_batch([columns[name] for name in SOCIAL_SCHEMA.names], schema=SOCIAL_SCHEMA)


def _draw_labels(sentiment: Integers, rng: np.random.Generator) -> pa.Array:
    """Return what a person called some of the posts: not always what was meant."""
    count = len(sentiment)
    meant = np.where(sentiment == SENTIMENTS.index("mixed"), 1, sentiment)
    slip = draw_below(3, rng.random(count))
    label = np.where(rng.random(count) < LABEL_NOISE, slip, meant)
    unlabelled = rng.random(count) >= LABEL_SHARE
    return pa.array(SENTIMENTS).take(pa.array(label, mask=unlabelled))
