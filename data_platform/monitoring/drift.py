"""Makes feed_drift: how the latest week of each feed differs from the weeks before, in what data quality is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import log, sqrt
from typing import Any

import pyarrow as pa

from data_platform.schemas import FEED_DRIFT
from data_platform.schemas.monitoring import DRIFT_MEASURES
from data_platform.storage.warehouse import RuleResult, Transaction

CURRENT_DAYS = 7
BASELINE_DAYS = 28
FEWEST_POSTS = 50  # of the week, and of the weeks before
FEWEST_DAYS = 7  # with posts, of the weeks before
SAMPLED_POSTS = 2_000  # of a feed and part, whose words are looked at
PART_OF_CATEGORY = (
    0.5  # added to each count, so that a category that one side lacks counts finitely
)
NORMAL_999 = 3.090232  # exceeded by a standard normal value once in a thousand
# Of measures with two classes, the one that is told of.
TOLD = {"duplicate_share": "copies", "quarantine_share": "refused", "unknown_words": "unknown"}
DECIMALS = 6  # so that the last bits, which differ between processors, reach no digest

# Of each feed: the last day that is over, and the parts of the time before it.
_FEEDS = f"""
CREATE OR REPLACE TEMP TABLE drift_days AS
SELECT d.feed, d.date, f.last_date,
    CASE WHEN d.date > f.last_date - {CURRENT_DAYS} THEN 'current' ELSE 'baseline' END AS part
FROM (SELECT DISTINCT feed, date FROM daily_sentiment) d
JOIN (SELECT feed, max(date) AS last_date FROM daily_sentiment WHERE date < $today GROUP BY feed) f
  ON f.feed = d.feed AND d.date <= f.last_date
 AND d.date > f.last_date - {CURRENT_DAYS + BASELINE_DAYS}
"""
_COUNTS = """
CREATE OR REPLACE TEMP TABLE drift_counts AS
WITH daily AS (SELECT d.part, s.* FROM daily_sentiment s JOIN drift_days d USING (feed, date))
SELECT feed, part, 'post_count' AS measure, 'posts' AS category, sum(post_count) AS count
FROM daily GROUP BY ALL
UNION ALL
SELECT feed, part, 'language_mix', language, sum(post_count) FROM daily GROUP BY ALL
UNION ALL
SELECT feed, part, 'duplicate_share', unnest(['copies', 'others']),
    unnest([sum(duplicate_count), sum(post_count) - sum(duplicate_count)]) FROM daily GROUP BY ALL
UNION ALL
SELECT feed, part, 'quarantine_share', unnest(['refused', 'kept']),
    unnest([coalesce(any_value(q.refused_count), 0), sum(post_count)])
FROM daily LEFT JOIN (
    SELECT r.feed, d.part, count(*) AS refused_count
    FROM (SELECT feed, coalesce(posted_date, CAST(timezone('UTC', collected_at) AS DATE)) AS date
          FROM quarantined_feedback) r JOIN drift_days d USING (feed, date) GROUP BY ALL
) q USING (feed, part) GROUP BY ALL
UNION ALL
SELECT s.feed, d.part, 'score_distribution',
    CASE WHEN s.neutral = 1 THEN 'no known word'
         ELSE format('{:.1f} to {:.1f}', low, low + 0.2) END, count(*)
FROM (SELECT *, CAST(timezone('UTC', posted_at) AS DATE) AS date,
          least(floor((compound + 1) * 5), 9) / 5 - 1 AS low
      FROM current_sentiment WHERE posted_at >= $first) s
JOIN drift_days d USING (feed, date) GROUP BY ALL
"""
# Words of the week, and of the week before it, that nobody used in the three weeks before both.
_WORDS = f"""
INSERT INTO drift_counts
WITH posts AS (
    SELECT c.feedback_id, c.feed, c.body_clean,
        CASE WHEN d.part = 'current' THEN 'current'
             WHEN d.date > d.last_date - {2 * CURRENT_DAYS} THEN 'baseline' ELSE 'known' END AS part
    FROM (SELECT *, CAST(timezone('UTC', posted_at) AS DATE) AS date
          FROM cleaned_feedback WHERE posted_at >= $first AND duplicate_of IS NULL) c
    JOIN drift_days d USING (feed, date)
    QUALIFY row_number() OVER (PARTITION BY c.feed, CASE WHEN d.part = 'current' THEN 'current'
             WHEN d.date > d.last_date - {2 * CURRENT_DAYS} THEN 'baseline' ELSE 'known' END
        ORDER BY md5(c.feedback_id)) <= {SAMPLED_POSTS}
), words AS (
    SELECT feed, part, unnest(list_distinct(
        regexp_extract_all(lower(body_clean), '[\\p{{L}}]{{3,}}'))) AS word FROM posts
), known AS (SELECT DISTINCT feed, word FROM words WHERE part = 'known')
SELECT w.feed, w.part, 'unknown_words',
    CASE WHEN k.word IS NULL THEN 'unknown' ELSE 'known' END, count(*)
FROM words w LEFT JOIN known k USING (feed, word) WHERE w.part <> 'known' GROUP BY ALL
"""


@dataclass(frozen=True)
class DriftLimits:
    """From where on a difference counts.

    Attributes:
        psi: population stability index; by convention more than 0.25 is a major shift
            (Siddiqi 2006, Credit Risk Scorecards).
        volume_ratio: posts a day against those before, or the other way round.
    """

    psi: float
    volume_ratio: float


def refresh_drift(
    transaction: Transaction, today: date, limits: DriftLimits
) -> tuple[pa.Table, tuple[RuleResult, ...]]:
    """Make feed_drift hold the latest 7 days of each feed that are over, against the 28 before.

    Args:
        today: the current day (UTC), which still runs.

    Returns:
        The rows that the table holds now, and the rules that hold.
    """
    connection = transaction.connection
    connection.execute(_FEEDS, {"today": today})
    feeds = {
        feed: (last, days)
        for feed, last, days in connection.execute(
            "SELECT feed, any_value(last_date), count(*) FILTER (part = 'baseline')"
            " FROM drift_days GROUP BY feed"
        ).fetchall()
    }
    first = {
        "first": connection.execute(
            "SELECT coalesce(min(date), $today)::TIMESTAMPTZ FROM drift_days", {"today": today}
        ).fetchall()[0][0]
    }
    connection.execute(_COUNTS, first)
    connection.execute(_WORDS, first)
    counts: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
    for feed, part, measure, category, count in connection.execute(
        "SELECT feed, part, measure, category, count::BIGINT FROM drift_counts ORDER BY ALL"
    ).fetchall():
        counts.setdefault((feed, measure), {}).setdefault(category, {})[part] = count
    posts = {feed: found["posts"] for (feed, m), found in counts.items() if m == "post_count"}
    rows = []
    for feed, (last, day_count) in feeds.items():
        sizes = [posts[feed].get(part, 0) for part in ("current", "baseline")]
        if day_count >= FEWEST_DAYS and min(sizes) >= FEWEST_POSTS:
            place = {"feed": feed, "last_date": last}
            sizes_known = dict(zip(("sample_count", "baseline_count"), sizes, strict=True))
            rows += [
                {**place, "measure": m, **sizes_known, **_judge(m, counts[feed, m], sizes, limits)}
                for m in DRIFT_MEASURES
                if (feed, m) in counts
            ]
    table = pa.Table.from_pylist(rows, schema=FEED_DRIFT.arrow_schema)
    transaction.merge(FEED_DRIFT, table, delete_where="TRUE")
    return table, transaction.audit_all(FEED_DRIFT)


def _judge(
    measure: str,
    categories: Mapping[str, Mapping[str, int]],
    posts: Sequence[int],
    limits: DriftLimits,
) -> dict[str, Any]:
    """Return what feed_drift says of one measure beyond its key and sizes.

    Args:
        categories: category to part ('current', 'baseline') to its count.
        posts: of the week, and of the weeks before.
    """
    if measure == "post_count":
        # Days without posts count: a feed of which less is heard has more of them.
        observed, expected = posts[0] / CURRENT_DAYS, posts[1] / BASELINE_DAYS
        ratio = max(observed, expected) / min(observed, expected)
        return {
            **_rounded(observed=observed, expected=expected),
            "is_drifted": ratio >= limits.volume_ratio,
        }
    names = sorted(categories)
    current, baseline = (
        [categories[name].get(part, 0) for name in names] for part in ("current", "baseline")
    )
    parts = stability_parts(current, baseline)
    moved = names[max(range(len(names)), key=lambda n: parts[n])]
    told = TOLD.get(measure, moved)
    place = names.index(told) if told in names else names.index(moved)
    psi, chance = sum(parts), chance_psi(len(names), *posts)
    return {
        "category": names[place],
        **_rounded(
            observed=current[place] / max(sum(current), 1),
            expected=baseline[place] / max(sum(baseline), 1),
            psi=psi,
            chance_psi=chance,
        ),
        "is_drifted": psi >= limits.psi and psi > chance,
    }


def stability_parts(current: Sequence[int], baseline: Sequence[int]) -> list[float]:
    """Return what each category adds to the population stability index of two distributions.

    (p - q) ln(p / q), with a half added to each count. The index is their sum: 0 if they are
    equal, about 0.1 for a moderate shift and 0.25 for a major one.
    """
    totals = [sum(c) + PART_OF_CATEGORY * len(c) for c in (current, baseline)]
    shares = [
        [(count + PART_OF_CATEGORY) / total for count in counts]
        for counts, total in zip((current, baseline), totals, strict=True)
    ]
    return [(p - q) * log(p / q) for p, q in zip(*shares, strict=True)]


def chance_psi(category_count: int, current_count: int, baseline_count: int) -> float:
    """Return the index that chance alone exceeds once in a thousand; 0 for a single category.

    Without a shift the index is distributed as chi square with one degree less than categories,
    times 1/n + 1/m (Yurdakul 2018, Statistical Properties of Population Stability Index). The
    quantile is by Wilson and Hilferty 1931, PNAS 17:684.
    """
    degrees = category_count - 1
    if degrees < 1:
        return 0.0
    part = 2 / (9 * degrees)
    quantile = degrees * (1 - part + NORMAL_999 * sqrt(part)) ** 3
    return quantile * (1 / current_count + 1 / baseline_count)


def _rounded(**values: float) -> dict[str, float]:
    return {name: round(value, DECIMALS) for name, value in values.items()}
