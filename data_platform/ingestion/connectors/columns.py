"""The columns of a source: which of them are mapped, whether they are all there, and what kind of values they hold."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import FileFeed

# A row of feedback holds a date: a field that begins with a digit, or has a year, colon or comma.
COLUMN_NAME = re.compile(r"|(?!.*\d{4})[^\W\d][\w .\-/]{0,60}")
SAMPLED_ROWS = 1_000
STATED_AT_LEAST = 5
UNKNOWN_KIND = "unknown"
OPTIONAL = "?"  # behind the kind of a key that only some records have
VALUE_KINDS = (
    ("boolean", r"(?i)^(true|false|yes|no)$"),
    ("number", r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"),
    ("date", r"^\d{4}-\d\d-\d\d([T ].*)?$"),
    ("list", r"^\["),
    ("object", r"^\{"),
)


def wanted_columns(feed: FileFeed) -> list[tuple[str, ...]]:
    """Return, for each mapped or kept column, the names that it may have in a file."""
    return [*feed.fields.values(), *((name,) for name in feed.keep)]


def find_header(rows: Iterable[Sequence[str]], wanted: Sequence[Sequence[str]]) -> int | None:
    """Return the position of the first row that names every wanted column; None if there is none."""
    for position, row in enumerate(rows):
        names = {name.strip() for name in row}
        if all(names & set(alternatives) for alternatives in wanted):
            return position
    return None


def require_columns(
    path: Path, feed: FileFeed, wanted: Sequence[Sequence[str]], found: Sequence[str]
) -> dict[tuple[str, ...], str]:
    """Return the column that stands for each of the wanted ones: the first of its names.

    Raises:
        PermanentSourceError: one is not there, or twice; the message never quotes a row of
            feedback that stands where the header should be.
    """
    chosen: dict[tuple[str, ...], str] = {}
    for alternatives in wanted:
        name = next((n for n in alternatives if n in found), None)
        if name is not None and found.count(name) == 1:
            chosen[tuple(alternatives)] = name
            continue
        problem = "stands twice in" if name is not None else "is not in"
        asked = name if name is not None else alternatives[0]
        near = get_close_matches(asked, found, n=1)
        hint = f" Did you mean {near[0]!r}?" if near and near[0] != asked else ""
        columns = "Columns found: " + ", ".join(repr(n[:40]) for n in found[:20])
        if not all(COLUMN_NAME.fullmatch(n) for n in found):
            hint = " If the file has no header, name its columns under columns of the feed."
            columns = f"{len(found)} columns found, which do not look like names"
        message = (
            f"{path}: column {asked!r}, mapped by feed {feed.name}, {problem} this file.{hint}"
            f" {columns}. Mend fields in feedback.yaml (a field may list several names), or the file."
        )
        raise PermanentSourceError(message)
    return chosen


def rows_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> pa.Table:
    """Return rows as text columns; the second column of a name gets a number behind it."""
    unique: list[str] = []
    for position, name in enumerate(names):
        count = list(names[:position]).count(name)
        unique.append(f"{name}_{count + 1}" if count else name)
    columns = list(zip(*rows, strict=True)) or [() for _ in names]
    return pa.table([pa.array(column, pa.string()) for column in columns], names=unique)


def column_kinds(columns: pa.Table) -> dict[str, str]:
    """Return what the first values of each text column are; see `kind_of`."""
    sample = columns.slice(0, SAMPLED_ROWS)
    return {name: kind_of(sample[name]) for name in columns.column_names}


def kind_of(values: pa.Array | pa.ChunkedArray) -> str:
    """Return what all stated values are: boolean, number, date (ISO 8601), list, object or text.

    Empty text and null are not stated; 'unknown' where fewer than 5 values are.
    """
    stated = values.filter(pc.fill_null(pc.not_equal(values, ""), fill_value=False))
    if len(stated) < STATED_AT_LEAST:
        return UNKNOWN_KIND
    for kind, pattern in VALUE_KINDS:
        if pc.all(pc.match_substring_regex(stated, pattern)).as_py():
            return kind
    return "text"
