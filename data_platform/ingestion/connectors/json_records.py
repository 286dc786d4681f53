"""JSON: lines of objects, or one document that holds a list of them; numbers stay the text that they are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import islice
from pathlib import Path

import msgspec
import pyarrow as pa

from data_platform.errors import PermanentSourceError
from data_platform.feed_settings import FileFeed
from data_platform.ingestion.connectors.columns import (
    OPTIONAL,
    SAMPLED_ROWS,
    kind_of,
    require_columns,
    wanted_columns,
)
from data_platform.ingestion.connectors.opening import (
    NOT_TEXT,
    TOO_LONG,
    is_cut,
    is_text,
    lines_of,
    open_text,
    readable,
)
from data_platform.ingestion.connectors.pages import BrokenRecord, Rows

LINES_PER_BLOCK = 20_000
BLOCK_CHARACTERS = 4 * 1024 * 1024
MAX_DOCUMENT_CHARACTERS = 256 * 1024 * 1024
NO_OBJECT = "not a JSON object"
# Numbers do not pass through a float: 64-bit ids would be rounded, and 1.50 is not 1.5.
_FAST = msgspec.json.Decoder(float_hook=str)

Record = Mapping[str, object]


def _whole_number(digits: str) -> int | str:
    """Python does not turn thousands of digits into a number, nor such a number into text."""
    return int(digits) if len(digits) < 1_000 else digits


# Also reads NaN, half a surrogate pair and whole numbers of any length.
_JSON = json.JSONDecoder(parse_int=_whole_number, parse_float=str, parse_constant=str)


def read_lines(path: Path, feed: FileFeed) -> Iterator[Rows]:
    """Yield the objects of a file that holds one in each line; empty lines are nothing."""
    shape = _Shape(path, feed)
    with open_text(path, feed.encoding, newline="\n") as stream:
        reason = NOT_TEXT.format(stream.encoding.upper())
        number = 0
        for lines in _blocks(lines_of(stream)):
            records: list[Record] = []
            numbers: list[int] = []
            kept: list[str] = []
            broken: list[BrokenRecord] = []
            # Line by line: one bad line costs no other, and Arrow's and DuckDB's readers turn
            # numbers into floats.
            for line in lines:
                number += 1
                if not line.strip():
                    continue
                if is_cut(line):
                    broken.append(BrokenRecord(number, TOO_LONG, readable(line)))
                elif not line.isascii() and not is_text(line):
                    broken.append(BrokenRecord(number, reason, readable(line.rstrip("\r\n"))))
                elif (record := parse_object(line)) is None:
                    broken.append(BrokenRecord(number, NO_OBJECT, line.rstrip("\r\n")))
                else:
                    records.append(record)
                    numbers.append(number)
                    kept.append(line)
            yield shape.rows(records, numbers, kept, broken)
    shape.require()


def _blocks(lines: Iterator[str]) -> Iterator[list[str]]:
    block: list[str] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


def parse_object(line: str) -> Record | None:
    """Return the JSON object that `line` is; None if it is none, or holds what is no text."""
    try:
        value = _FAST.decode(line)
    except (ValueError, RecursionError):
        try:
            value = _JSON.decode(line)
        except (ValueError, RecursionError):
            return None
        # Half a surrogate pair, written as an escape, is no text.
        if "\\u" in line and not is_text(json.dumps(value, ensure_ascii=False)):
            return None
    return value if isinstance(value, dict) else None


def parse_json(text: str) -> object:
    """Return the JSON document that `text` is; numbers with a fraction, and very long ones, are text.

    Raises:
        ValueError, RecursionError: it is none, or nested too deeply.
    """
    try:
        return _FAST.decode(text)
    except (ValueError, RecursionError):
        return _JSON.decode(text)


def read_document(path: Path, feed: FileFeed) -> Iterator[Rows]:
    """Yield the records of a file that is one JSON document.

    The records are what `records` of the feed leads to, or the document itself if it is a list,
    or the one list of objects that stands at its top, or the document as a single record. A file
    of lines that was named .json is read as lines.

    Raises:
        PermanentSourceError: it is not JSON, too large, or where its records are cannot be told.
    """
    with open_text(path, feed.encoding, newline="\n") as stream:
        encoding = stream.encoding
        text = stream.read(MAX_DOCUMENT_CHARACTERS + 1)
    if not text.strip():
        return
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        message = (
            f"{path}: a JSON document of more than {MAX_DOCUMENT_CHARACTERS:,} characters would"
            " have to be held in memory. Write its records as lines (NDJSON), one in each."
        )
        raise PermanentSourceError(message)
    try:
        document = _JSON.decode(text)
    except RecursionError as error:
        message = f"{path} cannot be read as JSON: it is nested too deeply"
        raise PermanentSourceError(message) from error
    except json.JSONDecodeError as error:
        first_line = text.lstrip().partition("\n")[0]
        if parse_object(first_line) is not None:
            yield from read_lines(path, feed)
            return
        message = (
            f"{path} cannot be read as JSON: {error.msg} at line {error.lineno},"
            f" column {error.colno}"
        )
        raise PermanentSourceError(message) from error
    del text
    shape = _Shape(path, feed)
    found = enumerate(_records(path, feed, document), start=1)
    while batch := list(islice(found, LINES_PER_BLOCK)):
        records: list[Record] = []
        numbers: list[int] = []
        kept: list[str] = []
        broken: list[BrokenRecord] = []
        for number, value in batch:
            payload = json.dumps(value, ensure_ascii=False)
            if not is_text(payload):
                broken.append(
                    BrokenRecord(number, NOT_TEXT.format(encoding.upper()), readable(payload))
                )
            elif not isinstance(value, dict):
                broken.append(BrokenRecord(number, NO_OBJECT, payload))
            else:
                records.append(value)
                numbers.append(number)
                kept.append(payload)
        yield shape.rows(records, numbers, kept, broken)
    shape.require()


def _records(path: Path, feed: FileFeed, document: object) -> Sequence[object]:
    """Return the list of records in `document`."""
    if feed.records is not None:
        found = value_at(document, feed.records) if isinstance(document, dict) else None
        if isinstance(found, list):
            return found
        message = f"{path}: there is no list at {feed.records!r}; mend records of feed {feed.name}"
        raise PermanentSourceError(message)
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        message = f"{path}: this JSON document holds no records"
        raise PermanentSourceError(message)
    if all(any(_has(document, n) for n in names) for names in wanted_columns(feed)):
        return [document]
    lists = [
        name
        for name, value in document.items()
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    ]
    if len(lists) == 1:
        found = document[lists[0]]
        assert isinstance(found, list)
        return found
    near = f"; lists stand at {', '.join(name[:40] for name in lists[:10])}" if lists else ""
    message = (
        f"{path}: where its records are cannot be told{near}. Set records of feed {feed.name},"
        " such as records: data.items"
    )
    raise PermanentSourceError(message)


def value_at(record: object, path: str) -> object:
    """Return the value of the key `path`, or of the path that it spells: a.b or a.0; None if none."""
    if isinstance(record, dict) and path in record:
        return record[path]
    return reduce(_step, path.split("."), record) if "." in path else None


def _step(value: object, key: str) -> object:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return None


def _has(record: Record, path: str) -> bool:
    return path in record or value_at(record, path) is not None


class _Shape:
    """Turns the records of one file into columns, and remembers which keys they have."""

    def __init__(self, path: Path, feed: FileFeed) -> None:
        self._path = path
        self._feed = feed
        self._names: set[str] = set()
        needed = ("source_id",) if "change" in feed.fields else ("source_id", "posted_at")
        self._missing = {feed.fields[field] for field in needed if field in feed.fields}

    def rows(
        self,
        records: Sequence[Record],
        numbers: Sequence[int],
        payloads: Sequence[str],
        broken: Sequence[BrokenRecord],
    ) -> Rows:
        kinds = {}
        if records and not self._names:
            sample = records[:SAMPLED_ROWS]
            keys = dict.fromkeys(key for record in sample for key in record)
            kinds = {key: _kind([r[key] for r in sample if key in r], len(sample)) for key in keys}
        self._names.update(*records)
        self._missing = {
            names
            for names in self._missing
            if not any(_has(record, name) for record in records for name in names)
        }
        lines = pa.table({"line": pa.array(payloads, pa.string())})
        return Rows(json_columns(self._feed, records), numbers, lines, tuple(broken), kinds)

    def require(self) -> None:
        """Refuse a file of which no record has a needed key.

        Raises:
            PermanentSourceError: the message names the keys that were found.
        """
        if self._names and self._missing:
            require_columns(self._path, self._feed, sorted(self._missing), sorted(self._names))


def json_columns(
    feed: FileFeed, records: Sequence[Record]
) -> dict[tuple[str, ...], pa.Array | pa.ChunkedArray]:
    """Return each wanted column of `records` as text, by the names that it may have.

    Text and numbers are as they stand, other values are JSON; null where a record has none of the
    column's names.
    """
    columns = {}
    for names in wanted_columns(feed):
        if len(names) == 1 and "." not in names[0]:
            values = [record.get(names[0]) for record in records]
        else:
            values = [_first(record, names) for record in records]
        columns[names] = as_texts(values)
    return columns


def _kind(values: Sequence[object], record_count: int) -> str:
    kind = kind_of(as_texts(values))
    return kind if len(values) == record_count else kind + OPTIONAL


def _first(record: Record, names: Sequence[str]) -> object:
    return next((value_at(record, name) for name in names if _has(record, name)), None)


def as_texts(values: Sequence[object]) -> pa.Array:
    """Return values of JSON as text: text and numbers as they stand, others as JSON, null as null."""
    texts = [value if value is None or type(value) is str else _as_text(value) for value in values]
    return pa.array(texts, pa.string())


def _as_text(value: object) -> str:
    if type(value) is int:
        return str(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
