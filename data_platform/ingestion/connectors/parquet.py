"""Parquet: typed columns, read as the text that loses nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import FileFeed
from data_platform.ingestion.connectors.columns import require_columns
from data_platform.ingestion.connectors.opening import open_bytes
from data_platform.ingestion.connectors.pages import Rows

BATCH_ROWS = 50_000
IDENTIFIERS = ("source_id", "conversation_id", "parent_id")


def read_parquet(path: Path, feed: FileFeed, wanted: Sequence[Sequence[str]]) -> Iterator[Rows]:
    """Yield the rows of a Parquet file in batches; of its columns, only those that are wanted.

    Raises:
        PermanentSourceError: a column is missing, or its type has no exact text, as a float has
            none for an identifier.
    """
    with path.open("rb") as stream:
        is_plain = stream.read(4) == b"PAR1"
    with open_bytes(path) as stream:
        content = pa.memory_map(str(path)) if is_plain else pa.BufferReader(stream.read())
    parquet = pq.ParquetFile(content)
    schema = parquet.schema_arrow
    chosen = require_columns(path, feed, wanted, [*schema.names, *_paths(schema)])
    tops = sorted({_top(schema, name) for name in chosen.values()})
    kinds = {field.name: str(field.type) for field in schema}
    identifiers = {feed.fields[f] for f in IDENTIFIERS if f in feed.fields}
    row_count = 0
    for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=tops):
        columns = {
            names: _text(path, name, _column(batch, name), names in identifiers)
            for names, name in chosen.items()
        }
        payloads = pa.table({name: columns[names] for names, name in chosen.items()})
        numbers = range(row_count + 1, row_count + batch.num_rows + 1)
        yield Rows(columns, numbers, payloads, (), kinds if row_count == 0 else {})
        row_count += batch.num_rows


def _paths(schema: pa.Schema) -> list[str]:
    """Return the paths of the fields inside of structs, such as user.name."""
    paths: list[str] = []
    open_fields = [(field.name, field.type) for field in schema]
    while open_fields:
        path, kind = open_fields.pop()
        if pa.types.is_struct(kind):
            inner = [
                (f"{path}.{kind.field(i).name}", kind.field(i).type) for i in range(kind.num_fields)
            ]
            paths += [name for name, _ in inner if name not in schema.names]
            open_fields += inner
    return paths


def _top(schema: pa.Schema, name: str) -> str:
    """Return the column of the file that `name` is, or is inside of."""
    if name in schema.names:
        return name
    return max((str(top) for top in schema.names if name.startswith(f"{top}.")), key=len)


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    top = _top(batch.schema, name)
    column = batch.column(top)
    for key in name.removeprefix(top).split(".")[1:]:
        column = pc.struct_field(column, key)
    return column


def _text(path: Path, name: str, column: pa.Array, is_identifier: bool) -> pa.Array:
    kind = column.type
    if (pa.types.is_floating(kind) and is_identifier) or pa.types.is_nested(kind):
        message = (
            f"{path}: column {name!r} has type {kind}, which cannot be mapped here;"
            " write it as text or as integers"
        )
        raise PermanentSourceError(message)
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz="UTC" if kind.tz else None), safe=False)
    return column.cast(pa.string())
