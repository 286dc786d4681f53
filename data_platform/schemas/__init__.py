"""Every table of the warehouse: columns, keys, descriptions, lineage; drives DDL, Arrow casts, rules and the UI."""

from collections.abc import Mapping

from data_platform.schemas.alerts import ALERTS, NOTIFICATIONS, WATCH_CURSORS
from data_platform.schemas.bookkeeping import DAY_VERSIONS, LOADED_SEGMENTS
from data_platform.schemas.cleaning import CLEANED_FEEDBACK, LANGUAGE, SCORED_TEXT_HASH
from data_platform.schemas.monitoring import (
    COMPLIANCE_SWEEP,
    COVERAGE_STATES,
    ERASURES,
    FEED_COVERAGE,
    FEED_DRIFT,
    PIPELINE_METRICS,
    SOURCE_HEALTH,
)
from data_platform.schemas.posts import (
    CONTRACT_VERSION,
    LANDED_COLUMNS,
    QUARANTINED_FEEDBACK,
    RAW_FEEDBACK,
)
from data_platform.schemas.reporting import (
    CAMPAIGNS,
    DAILY_SENTIMENT,
    RISING_TERMS,
    TOP_POSTS,
    TOPIC_SENTIMENT,
    WEEKLY_SENTIMENT,
)
from data_platform.schemas.sentiment import (
    ACTIVE_MODEL,
    CURRENT_SENTIMENT_VIEW,
    HUMAN_LABELS,
    MODEL_COMPARISON,
    SENTIMENT_CALIBRATION,
    SENTIMENT_CONFUSIONS,
    SENTIMENT_EVALUATION,
    SENTIMENT_SCORES,
)
from data_platform.schemas.signals import DAILY_SIGNALS, INCIDENTS
from data_platform.schemas.table import ARROW_TYPES, Column, RowRule, Table
from data_platform.schemas.views import PUBLISHED_VIEWS
from data_platform.schemas.warehouse import DIM_AUTHOR, DIM_DATE, DIM_FEED, FCT_FEEDBACK

SCHEMA_VERSION = 5

STAGE_TABLES: tuple[Table, ...] = (
    RAW_FEEDBACK,
    QUARANTINED_FEEDBACK,
    CLEANED_FEEDBACK,
    FCT_FEEDBACK,
    DIM_FEED,
    DIM_AUTHOR,
    DIM_DATE,
    SENTIMENT_SCORES,
    SENTIMENT_EVALUATION,
    SENTIMENT_CALIBRATION,
    SENTIMENT_CONFUSIONS,
    MODEL_COMPARISON,
    DAILY_SENTIMENT,
    TOPIC_SENTIMENT,
    SOURCE_HEALTH,
    FEED_COVERAGE,
    FEED_DRIFT,
    ERASURES,
    COMPLIANCE_SWEEP,
    PIPELINE_METRICS,
    DAILY_SIGNALS,
    INCIDENTS,
    WEEKLY_SENTIMENT,
    TOP_POSTS,
    RISING_TERMS,
    CAMPAIGNS,
)
BOOKKEEPING_TABLES: tuple[Table, ...] = (
    ALERTS,
    NOTIFICATIONS,
    WATCH_CURSORS,
    DAY_VERSIONS,
    LOADED_SEGMENTS,
    ACTIVE_MODEL,
    HUMAN_LABELS,
)
TABLES: Mapping[str, Table] = {t.name: t for t in (*STAGE_TABLES, *BOOKKEEPING_TABLES)}
# What readers of the snapshot find, views included, in the order of their names.
READABLE: Mapping[str, Table] = {
    t.name: t
    for t in sorted(
        (
            *(t for t in TABLES.values() if t.is_published),
            *(view for view, _ in PUBLISHED_VIEWS.values()),
        ),
        key=lambda t: t.name,
    )
}


__all__ = [
    "ACTIVE_MODEL",
    "ALERTS",
    "ARROW_TYPES",
    "BOOKKEEPING_TABLES",
    "CAMPAIGNS",
    "CLEANED_FEEDBACK",
    "COMPLIANCE_SWEEP",
    "CONTRACT_VERSION",
    "COVERAGE_STATES",
    "CURRENT_SENTIMENT_VIEW",
    "DAILY_SENTIMENT",
    "DAILY_SIGNALS",
    "DAY_VERSIONS",
    "DIM_AUTHOR",
    "DIM_DATE",
    "DIM_FEED",
    "ERASURES",
    "FCT_FEEDBACK",
    "FEED_COVERAGE",
    "FEED_DRIFT",
    "HUMAN_LABELS",
    "INCIDENTS",
    "LANDED_COLUMNS",
    "LANGUAGE",
    "LOADED_SEGMENTS",
    "MODEL_COMPARISON",
    "NOTIFICATIONS",
    "PIPELINE_METRICS",
    "PUBLISHED_VIEWS",
    "QUARANTINED_FEEDBACK",
    "RAW_FEEDBACK",
    "READABLE",
    "RISING_TERMS",
    "SCHEMA_VERSION",
    "SCORED_TEXT_HASH",
    "SENTIMENT_CALIBRATION",
    "SENTIMENT_CONFUSIONS",
    "SENTIMENT_EVALUATION",
    "SENTIMENT_SCORES",
    "SOURCE_HEALTH",
    "STAGE_TABLES",
    "TABLES",
    "TOPIC_SENTIMENT",
    "TOP_POSTS",
    "WATCH_CURSORS",
    "WEEKLY_SENTIMENT",
    "Column",
    "RowRule",
    "Table",
]
