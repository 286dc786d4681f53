"""Files of the sample, the same bytes every time: CSV, gzipped CSV, NDJSON and Parquet."""

import csv
import datetime as dt
import gzip
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_platform.sample.generation import SOCIAL_SCHEMA
from data_platform.sample.rows import Line

SUPPORT_SCHEMA = pa.schema(
    {
        "message_id": pa.string(),
        "ticket_id": pa.string(),
        "reply_to": pa.string(),
        "written_at": pa.timestamp("us"),  # local time of Berlin, as the support tool keeps it
        "customer": pa.string(),
        "language": pa.string(),
        "message": pa.string(),
        "removed": pa.bool_(),
    }
)


def write_lines(path: Path, lines: Sequence[Line], delivered_at: dt.datetime) -> None:
    """Write one file whole, in the format of its suffix, with `delivered_at` as its mtime.

    It is written under another name and moved: who watches the folder never sees half a file.
    """
    if path.suffix == ".parquet":
        content = _as_parquet(lines)
    elif path.suffix == ".ndjson":
        content = _as_ndjson(lines)
    else:
        content = _as_csv(lines)
    if path.suffix == ".gz":
        content = _gzipped(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name("incoming.part")
    part.write_bytes(content)
    seconds = int(delivered_at.timestamp())
    os.utime(part, (seconds, seconds))
    part.replace(path)


def _as_csv(lines: Sequence[Line]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, SOCIAL_SCHEMA.names, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        if isinstance(line, str):
            text.write(line + "\n")
        else:
            writer.writerow(line)
    return text.getvalue().encode()


def _as_ndjson(lines: Sequence[Line]) -> bytes:
    texts = (
        line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines
    )
    return "".join(f"{text}\n" for text in texts).encode()


def _as_parquet(lines: Sequence[Line]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(lines, SUPPORT_SCHEMA), sink)
    return sink.getvalue()


def _gzipped(content: bytes) -> bytes:
    """Return `content` compressed, with neither time nor file name in the header."""
    sink = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=sink, mtime=0) as file:
        file.write(content)
    return sink.getvalue()
