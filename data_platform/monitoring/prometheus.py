"""The state of the platform as Prometheus metrics, read from the published snapshot and the ledger."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from data_platform.ingestion.feeds import Feeds
from data_platform.storage.refusals import PUBLISH_ANEW, explained

LATEST = """
    SELECT asset, max(materialized_at) AS at, sum(seconds) AS seconds,
        sum(input_count) / nullif(sum(seconds) FILTER (input_count > 0), 0) AS rows_per_second,
        max(peak_memory_bytes) AS peak_memory_bytes
    FROM pipeline_metrics
    SEMI JOIN (SELECT asset, arg_max(run_id, materialized_at) AS run_id FROM pipeline_metrics
        GROUP BY asset) USING (asset, run_id)
    GROUP BY asset
"""
LAST_DAY = """
    SELECT asset, count(*) AS materializations, sum(inserted_count) AS inserted,
        sum(updated_count) AS updated, sum(unchanged_count) AS unchanged,
        sum(deleted_count) AS deleted, sum(quarantined_count) AS quarantined,
        sum(request_count) AS requests, sum(throttled_seconds) AS throttled_seconds,
        sum(quota_unit_count) AS quota_units, sum(cost_usd) AS cost_usd
    FROM pipeline_metrics WHERE materialized_at > now() - INTERVAL 1 DAY GROUP BY asset
"""
LAG = """
    SELECT quantile_cont(median_lag_seconds, 0.5), max(max_lag_seconds) FROM pipeline_metrics
    WHERE materialized_at > now() - INTERVAL 1 DAY AND median_lag_seconds IS NOT NULL
"""
FEEDS = """
    SELECT feed, post_count, deleted_count, quarantined_count, late_count,
        epoch(last_posted_at) AS last_posted_at
    FROM source_health
"""
FEELING = """
    SELECT feed, net_sentiment_share, negative_share, post_count FROM weekly_sentiment
    WHERE language = 'all' AND topic = 'all'
    QUALIFY row_number() OVER (PARTITION BY feed ORDER BY week_date DESC) = 1
"""
FATES = ("inserted", "updated", "unchanged", "deleted", "quarantined")


@dataclass(frozen=True)
class Sample:
    """One value of a metric; `name` and `help` are the same for all labels."""

    name: str
    help: str
    value: float | None
    labels: Mapping[str, str]


class PlatformCollector(Collector):
    """Reads the platform anew for each scrape.

    Args:
        snapshot: the published snapshot; while there is none, what is made from it is absent.
        feeds: the configured feeds and their ledger.
        further: more samples, such as the health of the daemon.
    """

    def __init__(
        self, snapshot: Path, feeds: Feeds, further: Callable[[], Iterable[Sample]]
    ) -> None:
        self._snapshot, self._feeds, self._further = snapshot, feeds, further

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with the values of all its labels; unknown values are left out."""
        families: dict[str, GaugeMetricFamily] = {}
        samples = [*_ledger_samples(self._feeds), *self._further()]
        samples += snapshot_samples(self._snapshot)
        for sample in samples:
            if sample.name not in families:
                families[sample.name] = GaugeMetricFamily(
                    sample.name, sample.help, labels=list(sample.labels)
                )
            if sample.value is not None:
                families[sample.name].add_metric(list(sample.labels.values()), sample.value)
        yield from families.values()


def snapshot_samples(snapshot: Path) -> Sequence[Sample]:
    """Return what the published snapshot says; nothing while there is none.

    Raises:
        DamagedFileError: it cannot be read.
    """
    if not snapshot.exists():
        return []
    published = snapshot.stat()
    with (
        explained(snapshot, PUBLISH_ANEW),
        duckdb.connect(str(snapshot), read_only=True) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        return [
            Sample(
                "feedback_snapshot_timestamp_seconds",
                "When the snapshot was published.",
                published.st_mtime,
                {},
            ),
            Sample("feedback_snapshot_bytes", "Size of the snapshot.", published.st_size, {}),
            *_feed_samples(connection),
            *_asset_samples(connection),
        ]


def _feed_samples(connection: duckdb.DuckDBPyConnection) -> Iterator[Sample]:
    for feed, posts, deleted, quarantined, late, last in connection.execute(FEEDS).fetchall():
        of = {"feed": feed}
        yield Sample("feedback_posts", "Posts that are not deleted.", posts, of)
        yield Sample("feedback_deleted_posts", "Posts deleted at the source.", deleted, of)
        yield Sample("feedback_quarantined_records", "Records in quarantine.", quarantined, of)
        yield Sample("feedback_late_posts", "Posts that came late.", late, of)
        yield Sample("feedback_last_post_timestamp_seconds", "Time of the latest post.", last, of)
    for feed, net, negative, posts in connection.execute(FEELING).fetchall():
        of = {"feed": feed}
        yield Sample("feedback_week_posts", "Posts of the latest week.", posts, of)
        yield Sample(
            "feedback_week_net_sentiment_ratio",
            "(positive - negative) / scored of the latest week, -1 to 1.",
            net,
            of,
        )
        yield Sample(
            "feedback_week_negative_ratio",
            "Negative of scored posts of the latest week, 0 to 1.",
            negative,
            of,
        )


def _asset_samples(connection: duckdb.DuckDBPyConnection) -> Iterator[Sample]:
    for asset, at, seconds, speed, memory in connection.execute(LATEST).fetchall():
        of = {"asset": asset}
        yield Sample(
            "feedback_materialized_timestamp_seconds", "Latest materialization.", at.timestamp(), of
        )
        yield Sample("feedback_materialization_seconds", "Time of the latest run.", seconds, of)
        yield Sample("feedback_rows_per_second", "Speed of the latest run.", speed, of)
        yield Sample("feedback_peak_memory_bytes", "Most memory of the latest run.", memory, of)
    found = connection.execute(LAST_DAY)
    names = [column[0] for column in found.description or ()]
    for row in found.fetchall():
        told = dict(zip(names, row, strict=True))
        of = {"asset": told["asset"]}
        yield Sample(
            "feedback_materializations_24h",
            "Materializations of the last 24 hours.",
            told["materializations"],
            of,
        )
        for fate in FATES:
            yield Sample(
                "feedback_rows_24h",
                "Rows of the last 24 hours, by what became of them.",
                told[fate],
                {**of, "fate": fate},
            )
        yield Sample(
            "feedback_source_requests_24h", "Requests to the platform's API.", told["requests"], of
        )
        yield Sample(
            "feedback_source_throttled_seconds_24h",
            "Time that the platform made us wait.",
            told["throttled_seconds"],
            of,
        )
        yield Sample("feedback_source_quota_units_24h", "Quota used.", told["quota_units"], of)
        yield Sample(
            "feedback_source_cost_usd_24h", "Price of what was read.", told["cost_usd"], of
        )
    ((typical, longest),) = connection.execute(LAG).fetchall()
    text = "From posting to score, of what was scored in the last 24 hours."
    yield Sample("feedback_score_lag_seconds", text, typical, {"statistic": "median"})
    yield Sample("feedback_score_lag_seconds", text, longest, {"statistic": "max"})


def _ledger_samples(feeds: Feeds) -> Iterator[Sample]:
    for ledger in feeds.ledgers():
        of = {"feed": ledger.feed}
        finished = ledger.finished_at
        yield Sample("feedback_records_read", "Records read.", ledger.read_count, of)
        yield Sample(
            "feedback_last_collected_timestamp_seconds",
            "End of the last collection.",
            finished.timestamp() if finished else None,
            of,
        )
        yield Sample(
            "feedback_collection_failed",
            "1 if the last collection had an error.",
            float(ledger.error is not None),
            of,
        )
        gaps = sum(gap.feed == ledger.feed for gap in feeds.gaps())
        yield Sample("feedback_open_gaps", "Gaps that are open.", gaps, of)
