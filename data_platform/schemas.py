"""Every table of the warehouse: columns, keys, descriptions, lineage; drives DDL, Arrow casts, rules and the UI."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

SCHEMA_VERSION = 4
CONTRACT_VERSION = "2"

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: ends in its kind (`_id`, `_at` in UTC, `_date`, `_count`, `_share` 0 to 1).
        type: DuckDB type, one of `ARROW_TYPES`.
        description: what a value means, with unit and range; shown in the UI.
        required: never null.
        derived_from: `table.column` names of the upstream columns; the lineage in the UI.
        is_personal: may identify a person; never leaves the warehouse in a published copy.
        is_volatile: says when or by which delivery a row came, not what it says;
            left out of content digests, so that any order of loading gives the same digest.
    """

    name: str
    type: str
    description: str
    required: bool = False
    derived_from: tuple[str, ...] = ()
    is_personal: bool = False
    is_volatile: bool = False


@dataclass(frozen=True)
class RowRule:
    """A statement that holds for every row: `holds` is an SQL expression over the row's columns."""

    name: str
    holds: str
    description: str


@dataclass(frozen=True)
class Table:
    """One table of the warehouse.

    Attributes:
        key: columns whose combination is unique.
        day_column: column that says to which day (UTC) a row belongs; None: not partitioned.
        row_rules: blocking rules beyond unique keys, required columns and the day.
        is_published: copied to the snapshot, without its personal columns.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    day_column: str | None = None
    row_rules: tuple[RowRule, ...] = ()
    is_published: bool = False
    by_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name: column for column in self.columns})

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([(c.name, ARROW_TYPES[c.type]) for c in self.columns])

    @property
    def ddl(self) -> str:
        """The CREATE TABLE statement; uniqueness is a rule before each commit, not an index."""
        lines = (f'"{c.name}" {c.type}{" NOT NULL" if c.required else ""}' for c in self.columns)
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(lines)})"

    @property
    def published_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if not column.is_personal)

    def day_expression(self, alias: str = "") -> str:
        """SQL for the DATE that a row belongs to (the session's time zone must be UTC)."""
        if self.day_column is None:
            message = f"{self.name} has no day column"
            raise ValueError(message)
        column = f"{alias}{self.day_column}"
        if self.by_name[self.day_column].type == "DATE":
            return column
        return f"CAST(timezone('UTC', {column}) AS DATE)"


def _carried(table: str, *columns: Column, **changes: bool) -> Iterator[Column]:
    """`columns` as they continue in a later table, with lineage to `table`."""
    for column in columns:
        yield Column(
            name=column.name,
            type=column.type,
            description=column.description,
            required=changes.get("required", column.required),
            derived_from=(f"{table}.{column.name}",),
            is_personal=column.is_personal,
            is_volatile=column.is_volatile,
        )


FEEDBACK_ID = Column(
    "feedback_id",
    "VARCHAR",
    "The post: its source, a colon, and the source's own id.",
    required=True,
)
FEED = Column("feed", "VARCHAR", "Name of the feed that delivered the post.", required=True)
POSTED_AT = Column(
    "posted_at", "TIMESTAMPTZ", "When the post was written, by the source's clock.", required=True
)
CONTENT_HASH = Column(
    "content_hash",
    "VARCHAR",
    "SHA-256 over the fields that change the meaning: body, title, rating, deletion.",
    required=True,
)
AUTHOR_ID = Column(
    "author_id", "VARCHAR", "Keyed hash of the author's handle; null if unknown.", is_personal=True
)
RATING = Column("rating", "DOUBLE", "The author's own rating, 0 (worst) to 1 (best).")
COUNTS = (
    Column("like_count", "BIGINT", "Likes at the latest observation; null if not stated."),
    Column("share_count", "BIGINT", "Shares at the latest observation; null if not stated."),
    Column("reply_count", "BIGINT", "Replies at the latest observation; null if not stated."),
)

LANDED_COLUMNS: tuple[Column, ...] = (
    FEEDBACK_ID,
    FEED,
    Column("source", "VARCHAR", "Platform that the id belongs to.", required=True),
    Column("source_id", "VARCHAR", "The source's own id, exactly as given.", required=True),
    CONTENT_HASH,
    Column("body", "VARCHAR", "The text as collected; null once the post is deleted."),
    Column("title", "VARCHAR", "The title as collected, where the source has one."),
    AUTHOR_ID,
    POSTED_AT,
    Column("edited_at", "TIMESTAMPTZ", "When this version was written, if the source says so."),
    Column(
        "observed_at",
        "TIMESTAMPTZ",
        "When the source last showed this version (for a file: its modification time).",
        required=True,
        is_volatile=True,
    ),
    Column("is_deleted", "BOOLEAN", "True for a tombstone: only the key stays.", required=True),
    Column("language_hint", "VARCHAR", "Language that the source states, as given."),
    RATING,
    Column("rating_scale", "VARCHAR", "Scale of the rating at the source, such as '1..5'."),
    Column("label", "VARCHAR", "A person's verdict: negative, neutral or positive."),
    Column("conversation_id", "VARCHAR", "The thread that the post belongs to."),
    Column("parent_id", "VARCHAR", "The source's id of the post that this one answers."),
    Column("url", "VARCHAR", "Where the post can be seen.", is_personal=True),
    *COUNTS,
    Column(
        "source_metadata",
        "VARCHAR",
        "Canonical JSON of the further columns that the feed was told to keep.",
        is_personal=True,
    ),
)

RAW_FEEDBACK = Table(
    name="raw_feedback",
    description="One row per version of a post, as collected; a deleted post keeps its key only.",
    columns=(
        *LANDED_COLUMNS,
        Column(
            "stated_posted_at",
            "TIMESTAMPTZ",
            "posted_at as this version stated it; posted_at itself is that of the current version.",
            required=True,
        ),
        Column(
            "version_at",
            "TIMESTAMPTZ",
            "edited_at where the source has it, else observed_at.",
            required=True,
            is_volatile=True,
        ),
        Column("is_current", "BOOLEAN", "True for the version that holds now.", required=True),
        Column(
            "collected_at",
            "TIMESTAMPTZ",
            "When the platform collected it.",
            required=True,
            is_volatile=True,
        ),
        Column(
            "segment",
            "VARCHAR",
            "Landing segment that the row came from.",
            required=True,
            is_volatile=True,
        ),
    ),
    key=("feedback_id", "content_hash"),
    day_column="posted_at",
    row_rules=(
        RowRule(
            "rating_is_between_0_and_1",
            "rating IS NULL OR rating BETWEEN 0 AND 1",
            "Ratings of every scale are brought to 0..1.",
        ),
        RowRule(
            "label_is_known",
            "label IS NULL OR label IN ('negative', 'neutral', 'positive')",
            "Human labels are negative, neutral or positive.",
        ),
        RowRule(
            "deleted_posts_are_empty",
            "NOT is_deleted OR (body IS NULL AND title IS NULL AND author_id IS NULL"
            " AND url IS NULL AND source_metadata IS NULL)",
            "A tombstone holds no text, no author, no link and no metadata.",
        ),
    ),
)

QUARANTINED_FEEDBACK = Table(
    name="quarantined_feedback",
    description="One row per record that breaks the post contract, with the reason; good records go on.",
    columns=(
        Column("quarantine_id", "VARCHAR", "SHA-256 of delivery, row and reason.", required=True),
        FEED,
        Column("source_id", "VARCHAR", "The record's id, if it could be read.", is_personal=True),
        Column("posted_date", "DATE", "Day of posting (UTC), if it could be read."),
        Column("reason", "VARCHAR", "Which rule of the contract it breaks.", required=True),
        Column("field", "VARCHAR", "Field of the contract that is wrong; null: the whole record."),
        Column("contract_version", "VARCHAR", "Contract that refused it.", required=True),
        Column(
            "payload",
            "VARCHAR",
            "The record as read, cut at 10,000 characters.",
            is_personal=True,
        ),
        Column("file", "VARCHAR", "File that it came from."),
        Column("row_number", "BIGINT", "Number of the record in the file, from 1."),
        Column("collected_at", "TIMESTAMPTZ", "When it was read.", required=True, is_volatile=True),
        Column(
            "segment",
            "VARCHAR",
            "Landing segment that the row came from.",
            required=True,
            is_volatile=True,
        ),
        Column(
            "observed_at", "TIMESTAMPTZ", "When the source showed the record.", is_volatile=True
        ),
    ),
    key=("quarantine_id",),
)

LANGUAGE = Column(
    "language",
    "VARCHAR",
    "ISO 639 code: stated by the source, else identified; 'und' if undetermined.",
    required=True,
    derived_from=("raw_feedback.language_hint", "raw_feedback.body"),
)
SCORED_TEXT_HASH = Column(
    "scored_text_hash",
    "VARCHAR",
    "SHA-256 of exactly the language and text that a model is given.",
    required=True,
    derived_from=("raw_feedback.body", "raw_feedback.title"),
)

CLEANED_FEEDBACK = Table(
    name="cleaned_feedback",
    description="One row per post that is not deleted, its current version, text ready to be scored.",
    columns=(
        *_carried("raw_feedback", FEEDBACK_ID, CONTENT_HASH, FEED, POSTED_AT),
        Column(
            "body_clean",
            "VARCHAR",
            "Title and body without markup, links and mentions; emoji, case and punctuation stay.",
            required=True,
            derived_from=("raw_feedback.body", "raw_feedback.title"),
        ),
        LANGUAGE,
        Column(
            "language_confidence",
            "DOUBLE",
            "Confidence of the identification, 0 to 1; null if the source or the feed stated it.",
            derived_from=("raw_feedback.body",),
        ),
        Column(
            "duplicate_of",
            "VARCHAR",
            "feedback_id of the earliest copy on the same day; null: no copy.",
            derived_from=("raw_feedback.body", "raw_feedback.author_id"),
        ),
        Column(
            "word_count",
            "INTEGER",
            "Words of body_clean.",
            required=True,
            derived_from=("raw_feedback.body",),
        ),
        Column(
            "was_repaired",
            "BOOLEAN",
            "True if a broken encoding was repaired.",
            required=True,
            derived_from=("raw_feedback.body",),
        ),
        SCORED_TEXT_HASH,
    ),
    key=("feedback_id",),
    day_column="posted_at",
    row_rules=(
        RowRule(
            "language_confidence_is_between_0_and_1",
            "language_confidence IS NULL OR language_confidence BETWEEN 0 AND 1",
            "A confidence is a probability.",
        ),
    ),
    is_published=True,
)

FCT_FEEDBACK = Table(
    name="fct_feedback",
    description="One row per post that is not deleted: the fact table of the star schema.",
    columns=(
        *_carried("cleaned_feedback", FEEDBACK_ID),
        Column(
            "feed_id",
            "VARCHAR",
            "Refers to dim_feed.",
            required=True,
            derived_from=("cleaned_feedback.feed",),
        ),
        Column(
            "author_id",
            "VARCHAR",
            "Refers to dim_author; null if the author is unknown.",
            derived_from=("raw_feedback.author_id",),
            is_personal=True,
        ),
        Column(
            "date_id",
            "INTEGER",
            "Refers to dim_date: the day of posting (UTC) as yyyymmdd.",
            required=True,
            derived_from=("cleaned_feedback.posted_at",),
        ),
        *_carried("cleaned_feedback", POSTED_AT, CONTENT_HASH, LANGUAGE),
        *_carried("raw_feedback", RATING, *COUNTS),
        Column(
            "is_duplicate",
            "BOOLEAN",
            "True if it copies another post of its day.",
            required=True,
            derived_from=("cleaned_feedback.duplicate_of",),
        ),
    ),
    key=("feedback_id",),
    day_column="posted_at",
    is_published=True,
)

DIM_FEED = Table(
    name="dim_feed",
    description="One row per feed that has delivered a post.",
    columns=(
        Column("feed_id", "VARCHAR", "Name of the feed.", True, ("cleaned_feedback.feed",)),
        Column(
            "source",
            "VARCHAR",
            "Platform that its ids belong to.",
            True,
            ("raw_feedback.source",),
        ),
    ),
    key=("feed_id",),
    is_published=True,
)

DIM_AUTHOR = Table(
    name="dim_author",
    description="One row per author with at least one post; pseudonymous by design.",
    columns=(
        Column(
            "author_id",
            "VARCHAR",
            "Keyed hash of the handle.",
            True,
            ("raw_feedback.author_id",),
            is_personal=True,
        ),
        Column(
            "source",
            "VARCHAR",
            "Platform that the author writes on.",
            True,
            ("raw_feedback.source",),
        ),
    ),
    key=("author_id",),
)

_DATE = ("cleaned_feedback.posted_at",)
DIM_DATE = Table(
    name="dim_date",
    description="One row per day of the calendar (UTC) that was refreshed.",
    columns=(
        Column("date_id", "INTEGER", "The day as yyyymmdd.", True, _DATE),
        Column("date", "DATE", "The day (UTC).", True, _DATE),
        Column("year", "INTEGER", "Calendar year.", True, _DATE),
        Column("quarter", "INTEGER", "Quarter, 1 to 4.", True, _DATE),
        Column("month", "INTEGER", "Month, 1 to 12.", True, _DATE),
        Column("iso_week", "INTEGER", "ISO 8601 week, 1 to 53.", True, _DATE),
        Column("weekday", "INTEGER", "ISO 8601 weekday, 1 (Monday) to 7.", True, _DATE),
        Column("is_weekend", "BOOLEAN", "True on Saturday and Sunday.", True, _DATE),
    ),
    key=("date_id",),
    is_published=True,
)

_TEXT = ("cleaned_feedback.body_clean", "cleaned_feedback.language")
SENTIMENT_SCORES = Table(
    name="sentiment_scores",
    description=(
        "One row per post, scored text and model; append-only, so that every score can be audited."
        " The view current_sentiment holds the score of each current text by the active model."
    ),
    columns=(
        *_carried("cleaned_feedback", FEEDBACK_ID, POSTED_AT, SCORED_TEXT_HASH),
        Column("model_name", "VARCHAR", "Name of the model.", required=True),
        Column("model_version", "VARCHAR", "Version of its engine.", required=True),
        Column(
            "model_fingerprint",
            "VARCHAR",
            "SHA-256 over engine version, lexicon and options.",
            required=True,
        ),
        Column("negative", "DOUBLE", "Share of negative weight, 0 to 1.", True, _TEXT),
        Column("neutral", "DOUBLE", "Share of neutral weight, 0 to 1.", True, _TEXT),
        Column("positive", "DOUBLE", "Share of positive weight, 0 to 1.", True, _TEXT),
        Column("compound", "DOUBLE", "Overall sentiment, -1 to 1.", True, _TEXT),
        Column("label", "VARCHAR", "negative, neutral or positive.", True, _TEXT),
        Column("scored_at", "TIMESTAMPTZ", "When it was scored.", required=True, is_volatile=True),
    ),
    key=("feedback_id", "scored_text_hash", "model_fingerprint"),
    day_column="posted_at",
    row_rules=(
        RowRule(
            "compound_is_between_minus_1_and_1",
            "compound BETWEEN -1 AND 1",
            "The compound score is normalised to -1..1.",
        ),
        RowRule(
            "shares_are_between_0_and_1",
            "negative BETWEEN 0 AND 1 AND neutral BETWEEN 0 AND 1 AND positive BETWEEN 0 AND 1",
            "Negative, neutral and positive are shares of a text.",
        ),
        RowRule(
            "label_is_known",
            "label IN ('negative', 'neutral', 'positive')",
            "A score's label is one of three.",
        ),
    ),
    is_published=True,
)

_SCORED = ("sentiment_scores.label",)
_TRUTH = ("raw_feedback.label", "raw_feedback.rating")
SENTIMENT_EVALUATION = Table(
    name="sentiment_evaluation",
    description=(
        "One row per feed, language, truth and class: how the active model's labels compare with"
        " people's labels and ratings; copies and deleted posts are left out."
    ),
    columns=(
        *_carried(
            "sentiment_scores",
            *(SENTIMENT_SCORES.by_name[name] for name in ("model_fingerprint", "model_name")),
        ),
        *_carried("cleaned_feedback", FEED),
        Column(
            "language",
            "VARCHAR",
            "ISO 639 code; 'all': all languages of the feed together.",
            True,
            ("cleaned_feedback.language",),
        ),
        Column(
            "truth",
            "VARCHAR",
            "What the scores are compared with: 'label' (a person's verdict) or 'rating' (the"
            " author's own: up to 0.4 negative, from 0.6 on positive, in between neutral).",
            True,
            _TRUTH,
        ),
        Column(
            "label",
            "VARCHAR",
            "Class: negative, neutral or positive; 'macro': the mean over the classes where a share"
            " is defined, each class counting the same.",
            True,
            _TRUTH,
        ),
        Column(
            "sample_count",
            "BIGINT",
            "Posts compared, of this feed, language and truth.",
            True,
            ("cleaned_feedback.feedback_id", "cleaned_feedback.duplicate_of"),
        ),
        Column(
            "support_count",
            "BIGINT",
            "Posts whose truth is this class; macro: all that were compared.",
            True,
            _TRUTH,
        ),
        Column(
            "predicted_count",
            "BIGINT",
            "Posts that the model gave this class; macro: all that were compared.",
            True,
            _SCORED,
        ),
        Column(
            "precision_share",
            "DOUBLE",
            "Right ones among the posts predicted to be of this class, 0 to 1; null: none was.",
            derived_from=(*_TRUTH, *_SCORED),
        ),
        Column(
            "recall_share",
            "DOUBLE",
            "Posts of this class that were predicted to be, 0 to 1; null: there is no such post.",
            derived_from=(*_TRUTH, *_SCORED),
        ),
        Column(
            "f1_share",
            "DOUBLE",
            "2 TP / (2 TP + FP + FN), 0 to 1; null: the class is in neither truth nor predictions.",
            derived_from=(*_TRUTH, *_SCORED),
        ),
        Column(
            "f1_low_share",
            "DOUBLE",
            "Lower end of the 95 % bootstrap percentile interval of f1_share; null with it.",
            derived_from=(*_TRUTH, *_SCORED),
        ),
        Column(
            "f1_high_share",
            "DOUBLE",
            "Upper end of the 95 % bootstrap percentile interval of f1_share; null with it.",
            derived_from=(*_TRUTH, *_SCORED),
        ),
        Column(
            "predicted_negative_count",
            "BIGINT",
            "Posts of this class that the model called negative; macro: of all classes.",
            True,
            (*_TRUTH, *_SCORED),
        ),
        Column(
            "predicted_neutral_count",
            "BIGINT",
            "Posts of this class that the model called neutral; macro: of all classes.",
            True,
            (*_TRUTH, *_SCORED),
        ),
        Column(
            "predicted_positive_count",
            "BIGINT",
            "Posts of this class that the model called positive; macro: of all classes.",
            True,
            (*_TRUTH, *_SCORED),
        ),
    ),
    key=("model_fingerprint", "feed", "language", "truth", "label"),
    row_rules=(
        RowRule(
            "truth_and_label_are_known",
            "truth IN ('label', 'rating')"
            " AND label IN ('negative', 'neutral', 'positive', 'macro')",
            "Scores are compared with labels or ratings, class by class and in the mean.",
        ),
        RowRule(
            "counts_add_up",
            "predicted_negative_count + predicted_neutral_count + predicted_positive_count"
            " = support_count AND support_count <= sample_count AND predicted_count <= sample_count"
            " AND (label <> 'macro' OR (support_count = sample_count"
            " AND predicted_count = sample_count))",
            "The posts of a class are divided among the predictions, and macro counts every post.",
        ),
        RowRule(
            "shares_are_between_0_and_1",
            " AND ".join(
                f"coalesce({name}, 0) BETWEEN 0 AND 1"
                for name in (
                    "precision_share",
                    "recall_share",
                    "f1_share",
                    "f1_low_share",
                    "f1_high_share",
                )
            ),
            "Precision, recall and F1 are shares.",
        ),
        RowRule(
            "shares_without_posts_are_null",
            "(precision_share IS NULL) = (predicted_count = 0)"
            " AND (recall_share IS NULL) = (support_count = 0)"
            " AND (f1_share IS NULL) = (support_count + predicted_count = 0)",
            "A share is null where nothing could be counted, and only there.",
        ),
        RowRule(
            "intervals_are_ordered",
            "CASE WHEN f1_low_share IS NULL THEN f1_high_share IS NULL"
            " ELSE f1_share IS NOT NULL AND f1_low_share <= f1_high_share END",
            "An interval belongs to a share, and its lower end is not above its upper end.",
        ),
    ),
    is_published=True,
)

DAILY_SENTIMENT = Table(
    name="daily_sentiment",
    description="One row per day, feed and language: how much was said, and how it felt.",
    columns=(
        Column("date", "DATE", "Day of posting (UTC).", True, ("cleaned_feedback.posted_at",)),
        *_carried("cleaned_feedback", FEED, LANGUAGE),
        Column("post_count", "BIGINT", "Posts.", True, ("cleaned_feedback.feedback_id",)),
        Column(
            "duplicate_count",
            "BIGINT",
            "Posts that copy another post of the day (they are counted in post_count too).",
            True,
            ("cleaned_feedback.duplicate_of",),
        ),
        Column("scored_count", "BIGINT", "Posts with a score.", True, _SCORED),
        Column("negative_count", "BIGINT", "Posts scored negative.", True, _SCORED),
        Column("neutral_count", "BIGINT", "Posts scored neutral.", True, _SCORED),
        Column("positive_count", "BIGINT", "Posts scored positive.", True, _SCORED),
        Column(
            "mean_compound",
            "DOUBLE",
            "Mean compound of the scored posts, -1 to 1; null if none was scored.",
            derived_from=("sentiment_scores.compound",),
        ),
        Column(
            "net_sentiment_share",
            "DOUBLE",
            "(positive - negative) / scored, -1 to 1; null if none was scored.",
            derived_from=_SCORED,
        ),
    ),
    key=("date", "feed", "language"),
    day_column="date",
    row_rules=(
        RowRule(
            "counts_add_up",
            "negative_count + neutral_count + positive_count = scored_count"
            " AND scored_count <= post_count AND duplicate_count <= post_count",
            "The three classes add up to the scored posts.",
        ),
    ),
    is_published=True,
)

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

ALERTS = Table(
    name="alerts",
    description="One row per trouble that a person should know of, from when it was seen to its end.",
    columns=(
        Column("alert_id", "VARCHAR", "SHA-256 of kind, subject, day and raised_at.", True),
        Column("raised_at", "TIMESTAMPTZ", "When it was first seen.", True, is_volatile=True),
        Column("last_seen_at", "TIMESTAMPTZ", "When it was last seen.", True, is_volatile=True),
        Column("resolved_at", "TIMESTAMPTZ", "When it was over; null while it is open."),
        Column(
            "severity", "VARCHAR", "error, or warning where nothing is wrong but unusual.", True
        ),
        Column("kind", "VARCHAR", "What happened, such as 'check_failed' or 'open_gap'.", True),
        Column("subject", "VARCHAR", "Table, check, feed, file, job or sensor it is about.", True),
        Column("day", "DATE", "Partition that it is about; null if none or several."),
        Column("evidence", "VARCHAR", "Numbers and keys that show it; never feedback text.", True),
    ),
    key=("alert_id",),
    row_rules=(
        RowRule("severity_is_known", "severity IN ('error', 'warning')", "An error or a warning."),
    ),
)

DAY_VERSIONS = Table(
    name="day_versions",
    description="One row per table and day: digest of its content and of the inputs it was made from.",
    columns=(
        Column("table_name", "VARCHAR", "Table.", True),
        Column("day", "DATE", "Day (UTC).", True),
        Column("digest", "VARCHAR", "Digest of the day's rows without volatile columns.", True),
        Column("row_count", "BIGINT", "Rows of the day.", True),
        Column("made_from", "VARCHAR", "JSON: input table or parameter to its digest.", True),
        Column("refreshed_at", "TIMESTAMPTZ", "Last refresh.", True, is_volatile=True),
    ),
    key=("table_name", "day"),
    day_column="day",
)

LOADED_SEGMENTS = Table(
    name="loaded_segments",
    description="One row per landing segment whose records are in the warehouse, with their fate.",
    columns=(
        Column("segment", "VARCHAR", "Path below the landing zone.", True),
        FEED,
        Column("day", "DATE", "Day folder; null for quarantine segments."),
        Column("row_count", "BIGINT", "Records.", True),
        Column("inserted_count", "BIGINT", "Records that became a row.", True),
        Column("merged_count", "BIGINT", "Records merged into a row.", True),
        Column("unchanged_count", "BIGINT", "Records that said nothing new.", True),
        Column("loaded_at", "TIMESTAMPTZ", "When.", True, is_volatile=True),
    ),
    key=("segment",),
)

ACTIVE_MODEL = Table(
    name="active_model",
    description="One row: the model whose scores current_sentiment shows.",
    columns=(
        Column("model_fingerprint", "VARCHAR", "Fingerprint of the active model.", True),
        Column("model_name", "VARCHAR", "Its name.", True),
        Column("model_version", "VARCHAR", "Version of its engine.", True),
    ),
    key=("model_fingerprint",),
    is_published=True,
)

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
    DAILY_SENTIMENT,
    SOURCE_HEALTH,
    FEED_COVERAGE,
)
BOOKKEEPING_TABLES: tuple[Table, ...] = (ALERTS, DAY_VERSIONS, LOADED_SEGMENTS, ACTIVE_MODEL)
TABLES: Mapping[str, Table] = {t.name: t for t in (*STAGE_TABLES, *BOOKKEEPING_TABLES)}

CURRENT_SENTIMENT_VIEW = """
CREATE OR REPLACE VIEW current_sentiment AS
SELECT s.feedback_id, s.posted_at, c.feed, c.language, s.scored_text_hash, s.model_name,
       s.model_version, s.model_fingerprint, s.negative, s.neutral, s.positive, s.compound,
       s.label, s.scored_at
FROM cleaned_feedback c
JOIN sentiment_scores s
  ON s.feedback_id = c.feedback_id AND s.posted_at = c.posted_at
 AND s.scored_text_hash = c.scored_text_hash
WHERE s.model_fingerprint = (SELECT a.model_fingerprint FROM active_model a)
"""
