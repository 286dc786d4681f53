"""Tables of what is unusual: daily series against what was to be expected, and the incidents in them."""

from data_platform.schemas.table import Column, RowRule, Table

ALL_TOPICS = "all"
MEASURES = ("post_count", "negative_share")
DIRECTIONS = ("up", "down")

_SEEN = ("daily_sentiment.post_count", "daily_sentiment.negative_count")
_COVERED = ("feed_coverage.status",)
_POSTS = ("daily_sentiment.post_count", "topic_sentiment.post_count")
_NEGATIVE = ("daily_sentiment.negative_count", "topic_sentiment.negative_count")

DAILY_SIGNALS = Table(
    name="daily_signals",
    description=(
        "One row per day, feed, topic and measure: what was seen, what was to be expected of the"
        " days before, and whether the difference is more than chance."
    ),
    columns=(
        Column("date", "DATE", "Day of posting (UTC).", True, ("daily_sentiment.date",)),
        Column("feed", "VARCHAR", "Name of the feed.", True, ("daily_sentiment.feed",)),
        Column(
            "topic",
            "VARCHAR",
            "Product or topic; 'all': all posts of the feed.",
            True,
            ("topic_sentiment.topic",),
        ),
        Column(
            "measure", "VARCHAR", "post_count or negative_share (0 to 1).", True, derived_from=_SEEN
        ),
        Column("post_count", "BIGINT", "Posts of the day.", True, _POSTS),
        Column(
            "observed", "DOUBLE", "Value of the day; null: no post was scored.", False, _NEGATIVE
        ),
        Column(
            "expected",
            "DOUBLE",
            "What the days before led to expect; null: too few of them.",
            derived_from=_SEEN,
        ),
        Column(
            "low",
            "DOUBLE",
            "Below this a value is unusual; null with expected.",
            derived_from=_SEEN,
        ),
        Column(
            "high",
            "DOUBLE",
            "Above this a value is unusual; null with expected.",
            derived_from=_SEEN,
        ),
        Column(
            "score",
            "DOUBLE",
            "Distance from expected in standard deviations; null with it.",
            derived_from=_SEEN,
        ),
        Column(
            "is_complete",
            "BOOLEAN",
            "False: the day still runs, or the ledger shows that not all of it is collected.",
            True,
            derived_from=_COVERED,
        ),
        Column(
            "is_anomaly",
            "BOOLEAN",
            "True: more than chance over all series tested; only complete days.",
            True,
            derived_from=(*_SEEN, *_COVERED),
        ),
    ),
    key=("date", "feed", "topic", "measure"),
    row_rules=(
        RowRule("measure_is_known", f"measure IN {MEASURES}", f"Measures: {', '.join(MEASURES)}."),
        RowRule(
            "only_complete_days_alarm",
            "NOT is_anomaly OR (is_complete AND score IS NOT NULL)",
            "A day that still runs or is not wholly collected raises no alarm.",
        ),
    ),
    is_published=True,
)

INCIDENTS = Table(
    name="incidents",
    description=(
        "One row per incident: unusual days in a row of one feed, topic and measure, in one"
        " direction."
    ),
    columns=(
        Column(
            "incident_id",
            "VARCHAR",
            "SHA-256 of feed, topic, measure, direction, first_date.",
            True,
            derived_from=("daily_signals.date",),
        ),
        Column("feed", "VARCHAR", "Name of the feed.", True, ("daily_signals.feed",)),
        Column(
            "topic", "VARCHAR", "Product or topic; 'all': the feed.", True, ("daily_signals.topic",)
        ),
        Column(
            "measure", "VARCHAR", "post_count or negative_share.", True, ("daily_signals.measure",)
        ),
        Column("direction", "VARCHAR", "up or down.", True, ("daily_signals.score",)),
        Column("first_date", "DATE", "First unusual day.", True, ("daily_signals.date",)),
        Column("last_date", "DATE", "Last unusual day so far.", True, ("daily_signals.date",)),
        Column("peak_date", "DATE", "Day of the greatest distance.", True, ("daily_signals.date",)),
        Column("observed", "DOUBLE", "Value on that day.", True, ("daily_signals.observed",)),
        Column("expected", "DOUBLE", "Expected on that day.", True, ("daily_signals.expected",)),
        Column(
            "score", "DOUBLE", "Distance in standard deviations.", True, ("daily_signals.score",)
        ),
        Column("post_count", "BIGINT", "Posts of that day.", True, ("daily_signals.post_count",)),
        Column(
            "is_over",
            "BOOLEAN",
            "True: a complete day after last_date is as usual again.",
            True,
            ("daily_signals.is_anomaly",),
        ),
    ),
    key=("incident_id",),
    row_rules=(
        RowRule("direction_is_known", f"direction IN {DIRECTIONS}", "up or down."),
        RowRule("days_are_ordered", "peak_date BETWEEN first_date AND last_date", "In order."),
    ),
    is_published=True,
)
