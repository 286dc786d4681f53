"""Feeds, raw_feedback and quarantined_feedback as assets."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (  # not public
    AssetCheckEvaluationTargetMaterializationData,
)

from data_platform.errors import BusyError, DataPlatformError, TransientSourceError
from data_platform.feed_settings import ApiFeed, FileFeed, WebhookFeed, XFeed
from data_platform.ingestion.collect import Collection
from data_platform.ingestion.connectors.registry import connector_class
from data_platform.ingestion.drift import drifted_fields
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.raw import load_days, load_quarantine
from data_platform.partitions import backfill_policy
from data_platform.schemas import QUARANTINED_FEEDBACK, RAW_FEEDBACK
from data_platform.storage.days import DaySpan
from data_platform.storage.resources import (
    PEAK_MEMORY,
    StageEvent,
    WarehouseResource,
    fail_whole,
    peak_memory_bytes,
    refresh_partitions,
    rule_specs,
    rules_result,
    rules_spec,
    table_result,
    table_spec,
    versioned_materialization,
)
from data_platform.storage.warehouse import DayWrite

GROUP = "ingestion"
MAX_REFUSED_SHOWN = 20
FEEDS_AT_A_TIME = 8
EVERY_DELIVERY_WAS_READ = "every_delivery_was_read"
COLUMNS_ARE_STABLE = "columns_are_stable"
NO_WINDOW_IS_OPEN = "no_window_is_open"
# A run with this tag collects what is new; without it, exactly the days that it was started for.
COLLECT_TAG = "data_platform/collect"
COLLECT_NEW = "new"
QUARANTINED_SHARE_CHECK = "quarantined_share_is_low"


def feed_key(name: str) -> dg.AssetKey:
    """Return the asset key of a feed."""
    return dg.AssetKey(["feed", name])


def ingestion_assets(
    feeds: Feeds, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """Return one asset for each feed, raw_feedback and quarantined_feedback."""
    together = CollectedTogether(feeds)
    collected = [
        _file_feed_asset(feed, feeds, partitions)
        if isinstance(feed, FileFeed)
        else _pulled_feed_asset(feed, feeds, partitions, together)
        for feed in feeds.settings.feeds
    ]
    return [*collected, _raw_feedback(feeds, partitions), _quarantined_feedback(feeds)]


def _file_feed_asset(
    feed: FileFeed, feeds: Feeds, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    key = feed_key(feed.name)

    @dg.asset(
        key=key,
        description=(
            f"Posts of {feed.platform} as delivered in `{feed.path}`: one landing segment per"
            " delivery and day of posting. A file is landed once, with all its days."
        ),
        partitions_def=partitions,
        backfill_policy=backfill_policy(),
        group_name=GROUP,
        kinds={feed.kind, "parquet"},
        owners=["team:feedback"],
        tags={"stage": GROUP, "source": feed.platform},
        code_version="1",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL),
        check_specs=[
            dg.AssetCheckSpec(
                EVERY_DELIVERY_WAS_READ,
                asset=key,
                description="The collection landed every delivery (file) that the feed offers.",
            ),
            dg.AssetCheckSpec(
                COLUMNS_ARE_STABLE,
                asset=key,
                description="The latest delivery has the columns, and the kinds of values, of the"
                " one before it.",
            ),
        ],
    )
    def collect_feed(
        context: dg.AssetExecutionContext,
    ) -> Iterator[StageEvent | dg.AssetCheckEvaluation]:
        try:
            collection = feeds.collect(feed.name)
        except DataPlatformError as error:
            can_retry = isinstance(error, TransientSourceError | BusyError)
            raise dg.Failure(str(error), allow_retries=can_retry) from error
        except dg.DagsterExecutionInterruptedError as error:
            message = "the run was told to stop"  # without this the retry policy collects again
            raise dg.Failure(message, allow_retries=False) from error
        context.log.info(
            f"{collection.delivery_count} new deliveries with {collection.read_count} records,"
            f" {collection.refused_count} of them to quarantine"
        )
        if collection.unsettled_count:
            context.log.warning(
                f"{collection.unsettled_count} file(s) are still being written; left for the next"
                " collection"
            )
        requested = {date.fromisoformat(day) for day in context.partition_keys}
        landed = {d: n for d, n in collection.landed_by_day.items() if d in feeds.open_days}

        def event(day: date) -> dg.AssetMaterialization:
            numbers = {"records_landed": landed.get(day, 0)}
            return landed_materialization(feeds, feed.name, day, numbers)

        # A refused delivery is red here, and does not keep the others from being loaded. A run that
        # meets it first, and finds nothing else, has failed.
        for number, reason in enumerate(collection.errors, start=1):
            context.log.error(f"refused ({number} of {len(collection.errors)}): {reason}")
        shown = {f"refused_{n}": e for n, e in enumerate(collection.errors[:MAX_REFUSED_SHOWN], 1)}
        every_delivery_was_read = dg.AssetCheckResult(
            passed=not collection.errors,
            check_name=EVERY_DELIVERY_WAS_READ,
            asset_key=key,
            metadata={"refused_deliveries": len(collection.errors), **shown},
        )
        if collection.new_errors and not collection.delivery_count:
            yield _of_latest_materialization(context.instance, every_delivery_was_read)
            raise dg.Failure("\n".join(collection.new_errors), allow_retries=False)
        yield every_delivery_was_read
        yield _columns_check(feeds, feed.name)
        yield from (event(day) for day in sorted(landed.keys() - requested))
        if len(requested) == 1:
            (day,) = requested
            yield dg.MaterializeResult(
                metadata=event(day).metadata,
                data_version=dg.DataVersion(feeds.version(feed.name, day)),
            )
            return
        yield dg.MaterializeResult()
        yield from (event(day) for day in sorted(requested))

    return collect_feed


def _pulled_feed_asset(
    feed: ApiFeed | WebhookFeed,
    feeds: Feeds,
    partitions: dg.PartitionsDefinition[str],
    together: "CollectedTogether",
) -> dg.AssetsDefinition:
    key = feed_key(feed.name)
    title = feed.kind if isinstance(feed, WebhookFeed) else connector_class(feed.kind).traits.title

    @dg.asset(
        key=key,
        description=(
            f"Posts of {feed.platform} ({title}): landing segments by day of posting. Started by"
            " a sensor it collects what is new; started for days, exactly those days."
        ),
        partitions_def=partitions,
        backfill_policy=backfill_policy(),
        group_name=GROUP,
        kinds={feed.kind, "parquet"},
        owners=["team:feedback"],
        tags={"stage": GROUP, "source": feed.platform},
        code_version="1",
        output_required=False,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
        check_specs=[
            dg.AssetCheckSpec(
                NO_WINDOW_IS_OPEN,
                asset=key,
                description="Every window of time that was to be collected was read to its end.",
            ),
            dg.AssetCheckSpec(
                COLUMNS_ARE_STABLE,
                asset=key,
                description="The fields of the platform's records hold the kinds of values that"
                " they held at first.",
            ),
        ],
    )
    def collect_feed(
        context: dg.AssetExecutionContext,
    ) -> Iterator[StageEvent | dg.AssetCheckEvaluation]:
        is_new = context.run.tags.get(COLLECT_TAG) == COLLECT_NEW
        requested = {date.fromisoformat(day) for day in context.partition_keys}
        try:
            collection = together.collect(context, feed.name, [] if is_new else sorted(requested))
        except DataPlatformError as error:
            can_retry = isinstance(error, TransientSourceError | BusyError)
            raise dg.Failure(str(error), allow_retries=can_retry) from error
        except dg.DagsterExecutionInterruptedError as error:
            message = "the run was told to stop"  # without this the retry policy collects again
            raise dg.Failure(message, allow_retries=False) from error
        context.log.info(
            f"{collection.read_count} new records, {collection.refused_count} of them to quarantine;"
            f" {collection.unchanged_count} were known; {collection.request_count} requests,"
            f" {collection.throttled_seconds:.0f} s throttled"
        )
        for note in collection.notes:
            context.log.warning(f"not read to the end: {note}")
        for number, reason in enumerate(collection.errors, start=1):
            context.log.error(f"failed ({number} of {len(collection.errors)}): {reason}")
        numbers = {
            "records_read": collection.read_count,
            "records_refused": collection.refused_count,
            "records_known": collection.unchanged_count,
            "requests": collection.request_count,
            "cost_usd" if isinstance(feed, XFeed) else "quota_units": collection.unit_count,
            "throttled_seconds": collection.throttled_seconds,
        }
        landed = {d: n for d, n in collection.landed_by_day.items() if d in feeds.open_days}

        def event(day: date) -> dg.AssetMaterialization:
            counts = {"records_landed": landed.get(day, 0), **numbers}
            return landed_materialization(feeds, feed.name, day, counts)

        window_check = _window_check(feeds, feed.name, collection)
        yield from (event(day) for day in sorted(landed.keys() - requested))
        missing = collection.unreachable if not is_new else {}
        has_failed = bool(collection.errors) or (
            bool(missing) and isinstance(feed, ApiFeed) and feed.unreachable_days == "fail"
        )
        incomplete = _incomplete_days(feeds, feed.name) if not is_new else set()
        done = sorted(requested - missing.keys() - incomplete)
        if has_failed or (incomplete & requested):
            yield from (event(day) for day in (done if not is_new else landed.keys() & requested))
            yield _of_latest_materialization(context.instance, window_check)
            reasons = [*collection.errors, *(collection.notes if incomplete else [])]
            reasons += [f"{day}: {reason}" for day, reason in sorted(missing.items())]
            raise dg.Failure("\n".join(reasons) or "days were left open", allow_retries=False)
        for day, reason in sorted(missing.items()):
            context.log.warning(f"{day} is skipped: {reason}")
        yield window_check
        yield _kinds_check(feeds, feed.name)
        if not done:
            return
        if len(requested) == 1:
            (day,) = done
            yield dg.MaterializeResult(
                metadata=event(day).metadata,
                data_version=dg.DataVersion(feeds.version(feed.name, day)),
            )
            return
        if len(done) == len(requested):
            yield dg.MaterializeResult()
        yield from (event(day) for day in done)

    return collect_feed


def _incomplete_days(feeds: Feeds, name: str) -> set[date]:
    return {window.day for window in feeds.ledger.open_windows(name) if window.day is not None}


def _window_check(feeds: Feeds, name: str, collection: Collection) -> dg.AssetCheckResult:
    windows = feeds.ledger.open_windows(name)
    lost = feeds.ledger.unreachable(name)
    shown = {
        f"open_{n}": f"{w.as_gap().subject}: {w.reason}"
        for n, w in enumerate(windows[:MAX_REFUSED_SHOWN], 1)
    }
    shown |= {
        f"unreachable_{n}": f"{u.stream}, {u.since:%Y-%m-%d} to {u.until:%Y-%m-%d}: {u.reason}"
        for n, u in enumerate(lost[:MAX_REFUSED_SHOWN], 1)
    }
    is_pause = all(window.is_transient for window in windows) and not collection.errors
    return dg.AssetCheckResult(
        passed=not windows,
        severity=dg.AssetCheckSeverity.WARN if is_pause else dg.AssetCheckSeverity.ERROR,
        check_name=NO_WINDOW_IS_OPEN,
        asset_key=feed_key(name),
        metadata={"open_windows": len(windows), "unreachable_stretches": len(lost), **shown},
    )


def _kinds_check(feeds: Feeds, name: str) -> dg.AssetCheckResult:
    drifts = drifted_fields(feeds.ledger.kinds(name))
    return dg.AssetCheckResult(
        passed=not drifts,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=COLUMNS_ARE_STABLE,
        asset_key=feed_key(name),
        metadata={"drifted_fields": len(drifts), **dict(list(drifts.items())[:MAX_REFUSED_SHOWN])},
    )


class CollectedTogether:
    """Collects the feeds of one run at the same time, though its steps follow one another.

    The first step of a run begins all of them; each step then waits for its own. They share
    nothing but the ledger, and none holds the warehouse.
    """

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds
        self._lock = threading.Lock()
        self._begun: dict[tuple[str, str], Future[Collection]] = {}

    def collect(
        self, context: dg.AssetExecutionContext, name: str, days: Sequence[date]
    ) -> Collection:
        """Return what became of a feed in this run; a second attempt of a step collects anew.

        Raises:
            DataPlatformError: as `Feeds.collect` does.
        """
        run_id = context.run.run_id
        with self._lock:
            mine = self._begun.pop((run_id, name), None)
            if mine is None and context.retry_number == 0:
                others = [n for n in self._of_run(context) if n != name]
                if others:
                    pool = ThreadPoolExecutor(FEEDS_AT_A_TIME, thread_name_prefix="feed")
                    mine = pool.submit(self._feeds.collect, name, days)
                    for other in others:
                        self._begun[run_id, other] = pool.submit(self._feeds.collect, other, days)
                    pool.shutdown(wait=False)
        return mine.result() if mine is not None else self._feeds.collect(name, days)

    def _of_run(self, context: dg.AssetExecutionContext) -> list[str]:
        keys = context.job_def.asset_layer.executable_asset_keys
        names = [key.path[1] for key in keys if key.path[0] == "feed"]
        return sorted(name for name in names if not self._feeds.is_of_files(name))


def _of_latest_materialization(
    instance: dg.DagsterInstance, result: dg.AssetCheckResult
) -> dg.AssetCheckEvaluation:
    """Return a check's result as one about the latest materialization of its asset.

    The UI shows a check as not evaluated if the latest materialization is of another run, and a
    run that fails has none.
    """
    assert result.asset_key is not None
    assert result.check_name is not None
    latest = instance.fetch_materializations(result.asset_key, limit=1).records
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
            storage_id=latest[0].storage_id,
            run_id=latest[0].event_log_entry.run_id,
            timestamp=latest[0].timestamp,
        )
        if latest
        else None,
    )


def _columns_check(feeds: Feeds, name: str) -> dg.AssetCheckResult:
    drifts = feeds.ledger.latest_drifts(name)
    return dg.AssetCheckResult(
        passed=not drifts,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=COLUMNS_ARE_STABLE,
        asset_key=feed_key(name),
        metadata={
            "drifted_deliveries": feeds.ledger.feed(name).drifted_count,
            **{f"drift_{n}": f"{file}: {d}" for n, (file, d) in enumerate(drifts.items(), 1)},
        },
    )


def landed_materialization(
    feeds: Feeds, name: str, day: date, metadata: Mapping[str, Any]
) -> dg.AssetMaterialization:
    """Return the event that says that `day` of a feed stands as its segments are now."""
    numbers = {**metadata, PEAK_MEMORY: peak_memory_bytes()}
    return versioned_materialization(feed_key(name), day, feeds.version(name, day), numbers)


def _raw_feedback(feeds: Feeds, partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=RAW_FEEDBACK.name,
        specs=[
            table_spec(
                RAW_FEEDBACK,
                group=GROUP,
                deps=[feed_key(name) for name in feeds.names],
                partitions=partitions,
            )
        ],
        check_specs=rule_specs(RAW_FEEDBACK),
        backfill_policy=backfill_policy(),
    )
    def raw_feedback(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[StageEvent]:
        def refresh(days: DaySpan) -> list[DayWrite]:
            return warehouse.warehouse.written(
                lambda transaction: load_days(transaction, feeds.landing, feeds.names, days)
            )

        yield from refresh_partitions(
            context, warehouse.warehouse, [RAW_FEEDBACK], refresh, feeds.landed_counts
        )

    return raw_feedback


def _quarantined_feedback(feeds: Feeds) -> dg.AssetsDefinition:
    limit = feeds.settings.config.alerts.quarantined_share

    @dg.multi_asset(
        name=QUARANTINED_FEEDBACK.name,
        specs=[
            table_spec(
                QUARANTINED_FEEDBACK,
                group=GROUP,
                deps=[feed_key(name) for name in feeds.names],
                partitions=None,
            )
        ],
        check_specs=[
            rules_spec(QUARANTINED_FEEDBACK),
            dg.AssetCheckSpec(
                QUARANTINED_SHARE_CHECK,
                asset=QUARANTINED_FEEDBACK.name,
                description=f"At most {limit:.0%} of the records of each feed are in quarantine.",
            ),
        ],
    )
    def quarantined_feedback(warehouse: WarehouseResource) -> Iterator[StageEvent]:
        days = feeds.open_days
        try:
            counts, rules = warehouse.warehouse.written(
                lambda transaction: load_quarantine(
                    transaction, feeds.landing, feeds.names, days.first, days.last
                )
            )
            with warehouse.warehouse.transaction() as transaction:
                row_count, digest = transaction.digest(QUARANTINED_FEEDBACK)
                by_feed = dict(
                    transaction.connection.execute(
                        f"SELECT feed, count(*) FROM {QUARANTINED_FEEDBACK.name} GROUP BY feed"
                    ).fetchall()
                )
                reasons = dict(
                    transaction.connection.execute(
                        "SELECT reason, count(*) AS n FROM quarantined_feedback"
                        " GROUP BY reason ORDER BY n DESC, reason LIMIT 20"
                    ).fetchall()
                )
            ledgers = feeds.ledgers()
        except DataPlatformError as error:
            yield from fail_whole(warehouse.warehouse, error)
            return
        yield rules_result(QUARANTINED_FEEDBACK, rules)
        shares = {
            ledger.feed: by_feed.get(ledger.feed, 0) / ledger.read_count
            for ledger in ledgers
            if ledger.read_count
        }
        worst = max(shares.values(), default=0.0)
        yield dg.AssetCheckResult(
            passed=worst <= limit,
            severity=dg.AssetCheckSeverity.WARN,
            check_name=QUARANTINED_SHARE_CHECK,
            asset_key=QUARANTINED_FEEDBACK.name,
            metadata={"worst_share": worst, **{f"{f}_share": s for f, s in shares.items()}},
        )
        metadata = {
            "inserted": counts.inserted,
            "deleted": counts.deleted,
            "reasons": dg.MetadataValue.json(reasons),
        }
        yield table_result(QUARANTINED_FEEDBACK, row_count, digest, metadata)

    return quarantined_feedback
