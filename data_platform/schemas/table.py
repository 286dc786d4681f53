"""What a table is: columns with types and meanings, a key, a day, rules; and how columns are carried on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

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

    @property
    def reading_day_column(self) -> str | None:
        """Column by which readers can choose rows of some days; None: there is none."""
        return self.day_column or ("date" if "date" in self.by_name else None)

    @property
    def reading_feed_column(self) -> str | None:
        """Column by which readers can choose rows of some feeds; None: there is none."""
        return next((name for name in ("feed", "feed_id") if name in self.by_name), None)

    def day_expression(self, alias: str = "") -> str:
        """SQL for the DATE that a row belongs to (the session's time zone must be UTC)."""
        if self.day_column is None:
            message = f"{self.name} has no day column"
            raise ValueError(message)
        column = f"{alias}{self.day_column}"
        if self.by_name[self.day_column].type == "DATE":
            return column
        return f"CAST(timezone('UTC', {column}) AS DATE)"


def carried(table: str, *columns: Column, **changes: bool) -> Iterator[Column]:
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
