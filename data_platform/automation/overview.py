"""What `status` and `digest` say: the state of tables, feeds and automation, and digests of the tables."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from data_platform.automation.health import (
    idle_sensors,
    read_daemon,
    read_sensors,
)
from data_platform.automation.staleness import Staleness
from data_platform.monitoring.checks import read_failing_checks
from data_platform.schemas import (
    CLEANED_FEEDBACK,
    DAILY_SENTIMENT,
    DIM_AUTHOR,
    DIM_DATE,
    DIM_FEED,
    FCT_FEEDBACK,
    QUARANTINED_FEEDBACK,
    RAW_FEEDBACK,
    SENTIMENT_SCORES,
    STAGE_TABLES,
)
from data_platform.storage.warehouse import Warehouse

# Tables whose content follows from the deliveries alone. sentiment_scores also remembers
# scores of former texts, which depend on when somebody scored; its current rows do not.
CONTENT_TABLES = (
    RAW_FEEDBACK,
    QUARANTINED_FEEDBACK,
    CLEANED_FEEDBACK,
    FCT_FEEDBACK,
    DIM_FEED,
    DIM_AUTHOR,
    DIM_DATE,
    DAILY_SENTIMENT,
)
WORK_OF_A_DAY = """
    SELECT asset, count(*) AS materializations, sum(input_count)::BIGINT AS input_count,
        round(sum(seconds), 3) AS seconds,
        round(sum(input_count) / nullif(sum(seconds), 0), 1) AS rows_per_second,
        max(peak_memory_bytes) AS peak_memory_bytes, sum(request_count)::BIGINT AS request_count,
        round(sum(throttled_seconds), 1) AS throttled_seconds,
        sum(quota_unit_count)::BIGINT AS quota_unit_count, round(sum(cost_usd), 4) AS cost_usd,
        median(median_lag_seconds) AS median_lag_seconds
    FROM pipeline_metrics WHERE materialized_at > now() - INTERVAL 1 DAY
    GROUP BY asset ORDER BY seconds DESC, asset
"""
CURRENT_SCORES = "current_sentiment"
# In place of an author's keyed hash stands the first post of that author, so that two
# warehouses with different keys but the same content have the same digests.
WITHOUT_KEYS = """
    (SELECT t.* REPLACE (a.first_feedback_id AS author_id) FROM {table} t LEFT JOIN (
        SELECT author_id, min(feedback_id) AS first_feedback_id FROM raw_feedback GROUP BY author_id
    ) a USING (author_id))
"""


def read_digests(warehouse: Warehouse) -> dict[str, str]:
    """Return a content digest for each table whose content follows from the deliveries."""
    scores = [c for c in SENTIMENT_SCORES.columns if not c.is_volatile]
    with warehouse.transaction() as transaction:
        digests = {}
        for table in CONTENT_TABLES:
            columns = [column for column in table.columns if not column.is_volatile]
            has_author = "author_id" in table.column_names
            relation = WITHOUT_KEYS.format(table=table.name) if has_author else table.name
            digests[table.name] = transaction.digest_of(relation, columns, "TRUE", [])[1]
        digests[CURRENT_SCORES] = transaction.digest_of(CURRENT_SCORES, scores, "TRUE", [])[1]
    return digests


def read_automation(instance: dg.DagsterInstance, definitions: dg.Definitions) -> dict[str, Any]:
    """Return the state of daemon, sensors and checks, as the UI shows it, ready for JSON."""
    daemon = read_daemon(instance)
    checks = definitions.resolve_asset_graph().asset_check_keys
    names = [sensor.name for sensor in definitions.sensors or ()]
    return {
        "daemon": asdict(daemon),
        "idle_sensors": [asdict(s) for s in idle_sensors(read_sensors(instance), names)],
        "failing_checks": [asdict(c) for c in read_failing_checks(instance, checks)],
    }


def read_overview(warehouse: Warehouse, staleness: Staleness) -> dict[str, Any]:
    """Return rows and days per table, feeds, open gaps, stale days, what the last 24 hours took
    and open alerts, ready for JSON.
    """
    tables: dict[str, dict[str, int | None]] = {}
    with warehouse.transaction() as transaction:
        for table in STAGE_TABLES:
            days = (
                f"count(DISTINCT {table.day_expression()})" if table.day_column else "NULL::BIGINT"
            )
            rows, day_count = transaction.connection.execute(
                f"SELECT count(*), {days} FROM {table.name}"
            ).fetchall()[0]
            tables[table.name] = {"rows": rows, "days": day_count}
        quarantined = dict(
            transaction.connection.execute(
                "SELECT feed, count(*) FROM quarantined_feedback GROUP BY feed"
            ).fetchall()
        )
        work = transaction.arrow(WORK_OF_A_DAY)
        alerts = transaction.arrow(
            "SELECT * FROM alerts WHERE resolved_at IS NULL ORDER BY severity, raised_at DESC"
        )
    feeds = [
        {
            "feed": ledger.feed,
            "delivery_count": ledger.delivery_count,
            "read_count": ledger.read_count,
            "quarantined_count": quarantined.get(ledger.feed, 0),
            "last_collected_at": ledger.finished_at,
            "last_error": ledger.error,
        }
        for ledger in staleness.feeds.ledgers()
    ]
    return {
        "tables": tables,
        "feeds": feeds,
        "gaps": [
            {"feed": gap.feed, "subject": gap.subject, "reason": gap.reason, "since": gap.opened_at}
            for gap in staleness.feeds.gaps()
        ],
        "stale_days": [day.isoformat() for day in staleness.stale_days(warehouse)],
        "last_24_hours": work.to_pylist(),
        "alerts": alerts.to_pylist(),
    }
