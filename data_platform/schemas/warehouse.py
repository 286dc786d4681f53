"""Tables of the stage warehouse: the star schema."""

from data_platform.schemas.cleaning import LANGUAGE
from data_platform.schemas.posts import CONTENT_HASH, COUNTS, FEEDBACK_ID, POSTED_AT, RATING, TOPIC
from data_platform.schemas.table import Column, Table, carried

FCT_FEEDBACK = Table(
    name="fct_feedback",
    description="One row per post that is not deleted: the fact table of the star schema.",
    columns=(
        *carried("cleaned_feedback", FEEDBACK_ID),
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
        *carried("cleaned_feedback", POSTED_AT, CONTENT_HASH, LANGUAGE),
        *carried("raw_feedback", RATING, TOPIC, *COUNTS),
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
    description="One row per feed with at least one post.",
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
