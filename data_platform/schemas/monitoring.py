"""Tables of the stage monitoring: health and coverage of the sources, and what each materialization took."""

from data_platform.schemas.posts import FEED
from data_platform.schemas.table import Column, RowRule, Table, carried

SOURCE_HEALTH = Table(
    name="source_health",
    description="One row per feed: what was read, what became of it, and when it was last heard of.",
    columns=(
        FEED,
        Column("delivery_count", "BIGINT", "Deliveries (files) collected.", required=True),
        Column("read_count", "BIGINT", "Records read.", required=True),
        Column("inserted_count", "BIGINT", "Records that became a row of raw_feedback.", True),
        Column("merged_count", "BIGINT", "Records merged into a row that was there.", True),
        Column("unchanged_count", "BIGINT", "Records that said nothing new.", True),
        Column("quarantined_count", "BIGINT", "Records kept in quarantine.", True),
        Column("pending_count", "BIGINT", "Records landed and not loaded yet.", True),
        Column("quarantined_share", "DOUBLE", "Quarantined of read, 0 to 1; null: none read."),
        Column("post_count", "BIGINT", "Posts that are not deleted.", True),
        Column("deleted_count", "BIGINT", "Posts that were deleted at the source.", True),
        Column("late_count", "BIGINT", "Posts observed later than the lateness window.", True),
        Column("first_posted_at", "TIMESTAMPTZ", "Earliest post."),
        Column("last_posted_at", "TIMESTAMPTZ", "Latest post."),
        Column("last_collected_at", "TIMESTAMPTZ", "Last collection.", is_volatile=True),
        Column("last_error", "VARCHAR", "Error of the last collection; null if it went well."),
        Column("drifted_count", "BIGINT", "Deliveries whose columns were not those before.", True),
    ),
    key=("feed",),
    row_rules=(
        RowRule(
            "records_add_up",
            "read_count = inserted_count + merged_count + unchanged_count"
            " + quarantined_count + pending_count",
            "Every record that was read is loaded, merged, known, quarantined or pending.",
        ),
    ),
    is_published=True,
)

COVERAGE_STATES = ("complete", "partial", "unreachable", "open gap", "not collected")

FEED_COVERAGE = Table(
    name="feed_coverage",
    description="One row per feed and day of posting: whether everything that the source offers of"
    " it is stored, and why not.",
    columns=(
        FEED,
        Column("date", "DATE", "Day of posting (UTC).", required=True),
        Column(
            "status",
            "VARCHAR",
            "complete; partial: some of the day's hours or listings are collected; unreachable: the"
            " platform does not list the rest any more; open gap: a collection stopped on the way;"
            " not collected. A day of files is complete when any were delivered.",
            required=True,
        ),
        Column(
            "reason",
            "VARCHAR",
            "Why it is not complete, which may name accounts and addresses; null where it is.",
            is_personal=True,
        ),
        Column("covered_share", "DOUBLE", "Collected share of the day's time, 0 to 1.", True),
        Column("stream_count", "INTEGER", "Listings of the feed that were collected.", True),
        Column("landed_count", "BIGINT", "Records landed for the day.", True),
    ),
    key=("feed", "date"),
    row_rules=(
        RowRule(
            "status_is_known",
            f"status IN {COVERAGE_STATES}",
            f"Status is one of {', '.join(COVERAGE_STATES)}.",
        ),
        RowRule("covered_share_is_a_share", "covered_share BETWEEN 0 AND 1", "It is 0 to 1."),
        RowRule(
            "every_incomplete_day_has_a_reason",
            "status = 'complete' OR reason IS NOT NULL",
            "A day that is not complete says why.",
        ),
    ),
    is_published=True,
)

_EVENTS = ("sentiment_scores.scored_at", "sentiment_scores.posted_at")
PIPELINE_METRICS = Table(
    name="pipeline_metrics",
    description=(
        "One row per run, asset and partition: what a materialization read and wrote, and what it"
        " took. Made from Dagster's event log, and kept for 90 days."
    ),
    columns=(
        Column("run_id", "VARCHAR", "Dagster's id of the run.", True),
        Column("asset", "VARCHAR", "Asset that was materialized.", True),
        Column("partition", "VARCHAR", "Its day (UTC), or 'all'.", True),
        Column("materialized_at", "TIMESTAMPTZ", "When.", True),
        Column("job_name", "VARCHAR", "Job of the run.", True),
        Column("input_count", "BIGINT", "Rows or records that came in; null: not told."),
        Column("inserted_count", "BIGINT", "Rows inserted, or records landed; null: not told."),
        Column("updated_count", "BIGINT", "Rows updated; null: not told."),
        Column("unchanged_count", "BIGINT", "Rows that were the same before; null: not told."),
        Column("deleted_count", "BIGINT", "Rows deleted; null: not told."),
        Column("quarantined_count", "BIGINT", "Records that went to quarantine; null: not told."),
        Column("row_count", "BIGINT", "Rows of the partition afterwards; null: not told."),
        Column(
            "seconds",
            "DOUBLE",
            "Of its step, which is divided among what the step materialized by rows that came in.",
            True,
        ),
        Column(
            "rows_per_second", "DOUBLE", "input_count over seconds; null: either is unknown or 0."
        ),
        Column(
            "peak_memory_bytes",
            "BIGINT",
            "Most memory that the run's process had held until then; null: not told.",
        ),
        Column("request_count", "BIGINT", "Requests to the platform's API.", True),
        Column("throttled_seconds", "DOUBLE", "Time that the platform made it wait.", True),
        Column("quota_unit_count", "BIGINT", "Units of the platform's quota.", True),
        Column("cost_usd", "DOUBLE", "Price of what was read, where the platform has one.", True),
        Column(
            "median_lag_seconds",
            "DOUBLE",
            "From posting to score, of what was scored then; null: nothing was.",
            derived_from=_EVENTS,
        ),
        Column("max_lag_seconds", "DOUBLE", "The longest of them.", derived_from=_EVENTS),
    ),
    key=("run_id", "asset", "partition"),
    row_rules=(
        RowRule(
            "measures_are_not_negative",
            "seconds >= 0 AND request_count >= 0 AND throttled_seconds >= 0 AND cost_usd >= 0",
            "Time, requests and money are 0 or more.",
        ),
    ),
    is_published=True,
)

DRIFT_MEASURES = (
    "post_count",
    "language_mix",
    "duplicate_share",
    "quarantine_share",
    "score_distribution",
    "unknown_words",
)

_COMPARED = (
    "daily_sentiment.post_count",
    "daily_sentiment.duplicate_count",
    "sentiment_scores.compound",
    "cleaned_feedback.body_clean",
    "quarantined_feedback.posted_date",
)
FEED_DRIFT = Table(
    name="feed_drift",
    description="One row per feed and measure: how its latest 7 days differ from the 28 before, and"
    " whether that is more than chance.",
    columns=(
        *carried("daily_sentiment", FEED),
        Column(
            "measure",
            "VARCHAR",
            "post_count; language_mix: posts by language; duplicate_share: copies; quarantine_share:"
            " refused records; score_distribution: posts by compound score, those without a word"
            " that the model knows apart; unknown_words: words that nobody used in the weeks before"
            " (baseline: the week before).",
            True,
            _COMPARED,
        ),
        Column(
            "last_date",
            "DATE",
            "Last of the 7 days (UTC); the current day is left out.",
            True,
            _COMPARED,
        ),
        Column(
            "sample_count", "BIGINT", "Posts of the 7 days.", True, ("daily_sentiment.post_count",)
        ),
        Column(
            "baseline_count",
            "BIGINT",
            "Posts of the 28 days before.",
            True,
            ("daily_sentiment.post_count",),
        ),
        Column(
            "category",
            "VARCHAR",
            "Language, range of scores or other class that moved most; null for post_count.",
            derived_from=_COMPARED,
        ),
        Column(
            "observed",
            "DOUBLE",
            "Share of that class, 0 to 1; post_count: posts a day.",
            True,
            _COMPARED,
        ),
        Column("expected", "DOUBLE", "The same of the days before.", True, _COMPARED),
        Column(
            "psi",
            "DOUBLE",
            "Population stability index, from 0 on: 0.1 is a moderate shift, 0.25 a major one; null"
            " for post_count.",
            derived_from=_COMPARED,
        ),
        Column(
            "chance_psi",
            "DOUBLE",
            "Index that chance alone exceeds once in a thousand; null with it.",
            derived_from=_COMPARED,
        ),
        Column(
            "is_drifted",
            "BOOLEAN",
            "True: beyond the configured limit, and chance.",
            True,
            _COMPARED,
        ),
    ),
    key=("feed", "measure"),
    row_rules=(
        RowRule(
            "measure_is_known",
            f"measure IN {DRIFT_MEASURES}",
            "What may drift is one of six measures.",
        ),
        RowRule(
            "every_distribution_has_an_index",
            "(measure = 'post_count') = (psi IS NULL) AND (psi IS NULL) = (chance_psi IS NULL)"
            " AND (psi IS NULL) = (category IS NULL) AND coalesce(psi, 0) >= 0",
            "All measures but post_count are distributions.",
        ),
    ),
    is_published=True,
)

ERASURES = Table(
    name="erasures",
    description="One row per request to erase posts, without naming anybody: what was asked for, by"
    " when it must be done, and when the last byte was gone.",
    columns=(
        Column("erasure_id", "VARCHAR", "Id of the request.", True),
        Column("subject", "VARCHAR", "What was asked for; authors by a keyed hash.", True),
        Column("post_count", "BIGINT", "Posts that were found.", True),
        Column("requested_at", "TIMESTAMPTZ", "When it was asked for.", True),
        Column("deadline_at", "TIMESTAMPTZ", "By when it must be done (erase_within).", True),
        Column("completed_at", "TIMESTAMPTZ", "When the last byte was gone; null: it is not."),
    ),
    key=("erasure_id",),
    row_rules=(
        RowRule(
            "times_are_in_order",
            "requested_at <= deadline_at AND coalesce(completed_at, requested_at) >= requested_at",
            "A request is done after it was made.",
        ),
    ),
    is_published=True,
)

COMPLIANCE_SWEEP = Table(
    name="compliance_sweep",
    description="One row per pulled feed and day on which posts were last seen: when they have to be"
    " asked for again, so that edits and deletions follow, by when, and what that takes.",
    columns=(
        FEED,
        Column("last_seen_date", "DATE", "Day (UTC) on which the platform last showed them.", True),
        Column("post_count", "BIGINT", "Posts that are not known to be deleted.", True),
        Column(
            "due_at",
            "TIMESTAMPTZ",
            "From when the first of them is asked for again (recheck_after); null: none is.",
        ),
        Column("deadline_at", "TIMESTAMPTZ", "By when it must have been; null as due_at."),
        Column("due_count", "BIGINT", "Posts that are due now.", True, is_volatile=True),
        Column("overdue_count", "BIGINT", "Posts past their deadline.", True, is_volatile=True),
        Column(
            "request_count",
            "BIGINT",
            "Requests that asking for all of them takes; null: the platform cannot be asked.",
        ),
        Column(
            "reason",
            "VARCHAR",
            "Why they are not asked for again, and how deletions are noticed then; null: they are.",
        ),
    ),
    key=("feed", "last_seen_date"),
    row_rules=(
        RowRule(
            "what_is_not_asked_for_has_a_reason",
            "(due_at IS NULL) = (reason IS NOT NULL) AND (due_at IS NULL) = (deadline_at IS NULL)",
            "Posts are due some day, or it is said why not.",
        ),
        RowRule(
            "counts_are_within_each_other",
            "post_count >= due_count AND due_count >= overdue_count AND overdue_count >= 0",
            "What is overdue is due, and what is due is known.",
        ),
    ),
    is_published=True,
)
