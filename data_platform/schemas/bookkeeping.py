"""Tables in which the warehouse keeps account of its own writes."""

from data_platform.schemas.posts import FEED
from data_platform.schemas.table import Column, Table

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
        Column(
            "loaded_at", "TIMESTAMPTZ", "When; in the order of loading.", True, is_volatile=True
        ),
    ),
    key=("segment",),
)
