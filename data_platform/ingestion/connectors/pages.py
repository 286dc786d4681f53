"""What every connector delivers: pages of records as text, named by the fields of the post contract."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True)
class BrokenRecord:
    """A record that could not even be read as a record.

    Attributes:
        row_number: its number in the delivery, from 1.
        reason: what is wrong with it, in a few words.
        payload: the record as it stood there.
    """

    row_number: int
    reason: str
    payload: str


@dataclass(frozen=True)
class Rows:
    """Some records of a delivery in the source's own columns, as text.

    Attributes:
        columns: text of each column that was asked for, by the names that it may have.
        numbers: row number of each record, from 1.
        payloads: the same records whole, as quarantine keeps them: all their columns, or a column
            `line` with their JSON.
        broken: records that could not be read.
        column_kinds: the first rows of a delivery tell what its columns are; see `column_kinds`.
    """

    columns: Mapping[tuple[str, ...], pa.Array | pa.ChunkedArray]
    numbers: Sequence[int]
    payloads: pa.Table
    broken: tuple[BrokenRecord, ...] = ()
    column_kinds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Some records of a delivery.

    Attributes:
        records: one row per record: `row_number` (int64, from 1), then a text column for each
            mapped contract field, exactly as the source wrote it (null where it has none), and
            `source_metadata` (JSON text) where the feed keeps further columns.
        payloads: the same rows in the source's own columns; what quarantine keeps of a bad one.
        broken: records that could not be read.
        column_kinds: on the first page: what the source's columns are; see `column_kinds`.
    """

    records: pa.Table
    payloads: pa.Table
    broken: tuple[BrokenRecord, ...] = ()
    column_kinds: Mapping[str, str] = field(default_factory=dict)

    def payload(self, index: int) -> str:
        """Return the record at `index` as the source wrote it: its JSON, or its columns as JSON."""
        row = self.payloads.slice(index, 1).to_pylist()[0]
        if list(row) == ["line"]:
            return str(row["line"]).rstrip("\r\n")
        return json.dumps(row, ensure_ascii=False, default=str)
