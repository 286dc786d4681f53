"""How a warehouse of an earlier schema version becomes one of the next: one list of statements per step."""

from collections.abc import Mapping, Sequence

from data_platform.schemas import (
    ALERTS,
    CAMPAIGNS,
    COMPLIANCE_SWEEP,
    DAILY_SENTIMENT,
    DAILY_SIGNALS,
    DAY_VERSIONS,
    ERASURES,
    FCT_FEEDBACK,
    FEED_DRIFT,
    HUMAN_LABELS,
    INCIDENTS,
    MODEL_COMPARISON,
    NOTIFICATIONS,
    PIPELINE_METRICS,
    RAW_FEEDBACK,
    RISING_TERMS,
    SENTIMENT_CALIBRATION,
    SENTIMENT_CONFUSIONS,
    TOP_POSTS,
    TOPIC_SENTIMENT,
    WATCH_CURSORS,
    WEEKLY_SENTIMENT,
    Table,
)

# Tables as they were in a version that is not the latest.
_ALERTS_2 = """
CREATE TABLE IF NOT EXISTS alerts (alert_id VARCHAR NOT NULL, raised_at TIMESTAMPTZ NOT NULL,
    last_seen_at TIMESTAMPTZ NOT NULL, resolved_at TIMESTAMPTZ, severity VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, subject VARCHAR NOT NULL, day DATE, evidence VARCHAR NOT NULL)
"""
_SENTIMENT_EVALUATION_2 = """
CREATE TABLE IF NOT EXISTS sentiment_evaluation (model_fingerprint VARCHAR NOT NULL, model_name VARCHAR NOT NULL,
    feed VARCHAR NOT NULL, language VARCHAR NOT NULL, truth VARCHAR NOT NULL, label VARCHAR NOT NULL,
    sample_count BIGINT NOT NULL, support_count BIGINT NOT NULL, predicted_count BIGINT NOT NULL,
    precision_share DOUBLE, recall_share DOUBLE, f1_share DOUBLE, f1_low_share DOUBLE,
    f1_high_share DOUBLE, predicted_negative_count BIGINT NOT NULL,
    predicted_neutral_count BIGINT NOT NULL, predicted_positive_count BIGINT NOT NULL)
"""
_FEED_COVERAGE_4 = """
CREATE TABLE IF NOT EXISTS feed_coverage (feed VARCHAR NOT NULL, date DATE NOT NULL, status VARCHAR NOT NULL,
    reason VARCHAR, covered_share DOUBLE NOT NULL, stream_count INTEGER NOT NULL,
    landed_count BIGINT NOT NULL)
"""
# The log has told of what was raised before there were notifications.
_LIFE_OF_ALERTS = (
    ", CASE WHEN resolved_at IS NULL THEN 'open' ELSE 'resolved' END AS status,"
    " status AS told_status, FALSE AS is_dismissed, 1 AS occurrence_count"
)


def _with_further_columns(table: Table, values: str = "") -> tuple[str, ...]:
    """Rebuild a table in the order of its columns; those that are new have `values`, or are null."""
    return (
        f"ALTER TABLE {table.name} RENAME TO former_{table.name}",
        table.ddl,
        f"INSERT INTO {table.name} BY NAME SELECT *{values} FROM former_{table.name}",
        f"DROP TABLE former_{table.name}",
    )


def _made_anew(table: Table) -> tuple[str, ...]:
    """Empty a table that is made from others: its days are out of date, and the next run fills them."""
    return (
        f"DROP TABLE {table.name}",
        table.ddl,
        f"DELETE FROM {DAY_VERSIONS.name} WHERE table_name = '{table.name}'",
    )


# From version: statements that lead to the next one. They run in one transaction.
MIGRATIONS: Mapping[int, Sequence[str]] = {
    1: (
        "ALTER TABLE alerts RENAME TO alerts_1",
        _ALERTS_2,
        "INSERT INTO alerts SELECT alert_id, raised_at, raised_at, NULL, 'error', kind, subject, day,"
        " evidence FROM alerts_1",
        "DROP TABLE alerts_1",
        _SENTIMENT_EVALUATION_2,
    ),
    2: (
        "ALTER TABLE quarantined_feedback ADD COLUMN observed_at TIMESTAMPTZ",
        "ALTER TABLE source_health ADD COLUMN drifted_count BIGINT DEFAULT 0",
    ),
    3: (_FEED_COVERAGE_4,),
    4: (
        *_with_further_columns(RAW_FEEDBACK),
        *_made_anew(FCT_FEEDBACK),
        *_made_anew(DAILY_SENTIMENT),
        TOPIC_SENTIMENT.ddl,
        DAILY_SIGNALS.ddl,
        INCIDENTS.ddl,
        PIPELINE_METRICS.ddl,
        FEED_DRIFT.ddl,
        ERASURES.ddl,
        COMPLIANCE_SWEEP.ddl,
        SENTIMENT_CALIBRATION.ddl,
        SENTIMENT_CONFUSIONS.ddl,
        MODEL_COMPARISON.ddl,
        HUMAN_LABELS.ddl,
        WEEKLY_SENTIMENT.ddl,
        TOP_POSTS.ddl,
        RISING_TERMS.ddl,
        CAMPAIGNS.ddl,
        *_with_further_columns(ALERTS, _LIFE_OF_ALERTS),
        NOTIFICATIONS.ddl,
        WATCH_CURSORS.ddl,
    ),
}
