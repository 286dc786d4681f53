"""The whole sample on disk: three feeds for thirty days, and the summary of what they hold."""

import datetime as dt
from collections import Counter
from pathlib import Path

import numpy as np

from data_platform.sample.composition import compose
from data_platform.sample.feeds import FEED_PLANS, FeedPlan
from data_platform.sample.files import write_lines
from data_platform.sample.phrases import LANGUAGES, build_pool
from data_platform.sample.planting import Planting
from data_platform.sample.randomness import stream
from data_platform.sample.rows import COLUMNS, ROW_MAKERS, Post
from data_platform.sample.summary import FeedSummary, SampleSummary
from data_platform.sample.timing import (
    DAY_MS,
    EPOCH,
    SAMPLE_DAYS,
    are_on_days,
    draw_times,
    incident_days,
    number_of_day,
    weigh_days,
)


def write_sample(folder: Path, last_day: dt.date, *, seed: int = 7) -> SampleSummary:
    """Write three feeds of files under `folder`, about 6,000 posts of 30 days.

    The same arguments give the same bytes and modification times: each file has the time of its
    delivery, midnight (UTC) after the last day it covers. Other files in `folder` stay.

    Args:
        folder: Created if missing; `SAMPLE_FEEDS` holds paths relative to it.
        last_day: Last day (UTC) of posting. A day that is over: its file comes at its end.
        seed: 0 or more.
    """
    first_day = last_day - dt.timedelta(days=SAMPLE_DAYS - 1)
    feeds = {plan.name: _write_feed(folder, plan, last_day, seed) for plan in FEED_PLANS}
    return SampleSummary(first_day, last_day, seed, incident_days(last_day), feeds)


def _write_feed(folder: Path, plan: FeedPlan, last_day: dt.date, seed: int) -> FeedSummary:
    first_day = last_day - dt.timedelta(days=SAMPLE_DAYS - 1)
    planting = Planting(
        plan,
        first_day,
        build_pool(plan.voice.topic, seed),
        stream(seed, f"planting in {plan.name}"),
        _write_posts(plan, last_day, seed),
    )
    planting.plant()
    paths = tuple(plan.path_of(number, first_day) for number in range(len(plan.periods)))
    for number, path in enumerate(paths):
        write_lines(folder / path, planting.files[number], planting.delivered_at(number))
    return _summarise(planting, paths)


def _write_posts(plan: FeedPlan, last_day: dt.date, seed: int) -> list[Post]:
    """Return the posts of a feed ordered by time, those included that will be broken."""
    rng = stream(seed, f"posts of {plan.name}")
    loud_days = incident_days(last_day) if plan.has_incident else ()
    weights = weigh_days(last_day, SAMPLE_DAYS, seed, loud_days)
    count = plan.posts + sum(plan.broken.values())
    written_ms = draw_times((np.arange(count) + rng.random(count)) / count, last_day, weights)
    pool = build_pool(plan.voice.topic, seed)
    drafts = compose(plan.voice, pool, are_on_days(written_ms, loud_days), rng)
    rows = ROW_MAKERS[plan.name](drafts, written_ms, pool, rng)
    _, _, body_column, author_column = COLUMNS[plan.name]
    start = number_of_day(last_day) - SAMPLE_DAYS + 1
    return [
        Post(
            written_at=EPOCH + dt.timedelta(seconds=ms // 1000),
            day=ms // DAY_MS - start,
            language=LANGUAGES[language],
            author=row[author_column],
            body=row[body_column],
            row=row,
        )
        for ms, language, row in zip(written_ms.tolist(), drafts.language, rows, strict=True)
    ]


def _summarise(planting: Planting, paths: tuple[str, ...]) -> FeedSummary:
    posts = planting.posts
    return FeedSummary(
        name=planting.plan.name,
        files=paths,
        rows=sum(len(lines) for lines in planting.files),
        posts=len(posts),
        broken_rows=dict(planting.broken),
        labelled=sum(bool(post.row.get("sentiment_label")) for post in posts),
        posts_by_day=dict(Counter(post.written_at.date() for post in posts)),
        posts_by_language=dict(Counter(post.language for post in posts)),
        **planting.counts,
    )
