"""How a warehouse of an earlier schema version becomes one of the next: one list of statements per step."""

from collections.abc import Mapping, Sequence

from data_platform.schemas import ALERTS, FEED_COVERAGE, SENTIMENT_EVALUATION

# From version: statements that lead to the next one. They run in one transaction.
MIGRATIONS: Mapping[int, Sequence[str]] = {
    1: (
        "ALTER TABLE alerts RENAME TO alerts_1",
        ALERTS.ddl,
        "INSERT INTO alerts SELECT alert_id, raised_at, raised_at, NULL, 'error', kind, subject, day,"
        " evidence FROM alerts_1",
        "DROP TABLE alerts_1",
        SENTIMENT_EVALUATION.ddl,
    ),
    2: (
        "ALTER TABLE quarantined_feedback ADD COLUMN observed_at TIMESTAMPTZ",
        "ALTER TABLE source_health ADD COLUMN drifted_count BIGINT DEFAULT 0",
    ),
    3: (FEED_COVERAGE.ddl,),
}
