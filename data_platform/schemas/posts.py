"""What a post is as it was collected: the columns that later tables carry on, raw_feedback and its quarantine."""

from data_platform.schemas.table import Column, RowRule, Table

CONTRACT_VERSION = "2"

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

TOPIC = Column(
    "topic",
    "VARCHAR",
    "Product or topic that the post is about, where the feed maps one; at most 200 characters.",
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
    TOPIC,
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
