"""Compressions and encodings are told by the content; what is something else is refused by name."""

import codecs
import gzip

import pyarrow as pa
import pytest

from data_platform.errors import PermanentSourceError
from data_platform_tests.ingestion.connectors.conftest import broken, records

TEXT = "naïve ❤️ 日本 – „Zitat“"
CONTENT = f"id,at,text\n1,a,{TEXT}\n2,a,b\n"
ROWS = [("1", "a", TEXT), ("2", "a", "b")]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "encoded",
    [
        CONTENT.encode("utf-8"),
        CONTENT.encode("utf-8-sig"),
        CONTENT.encode("utf-16"),
        codecs.BOM_UTF16_BE + CONTENT.encode("utf-16-be"),
        CONTENT.encode("utf-16-le"),
        CONTENT.encode("utf-16-be"),
        CONTENT.encode("utf-32"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd])
def test_the_encoding_is_told_by_the_bytes_also_when_they_are_compressed(read, encoded, compress):
    assert records(read("a.csv", compress(encoded))) == ROWS


@pytest.mark.parametrize("name", ["a.ndjson", "a.json"])
def test_json_may_be_utf16(read, name):
    line = f'{{"id": "1", "at": "a", "text": "{TEXT}"}}\n'
    assert records(read(name, line.encode("utf-16"))) == ROWS[:1]


def test_an_encoding_without_a_mark_is_told_by_the_configuration(read):
    content = "id,at,text\n1,a,„Größe“ – 5 €\n2,a,b\n".encode("cp1252")
    pages = read("a.csv", content)
    assert [record.reason for record in broken(pages)] == [
        "not UTF-8 text; set encoding of the feed, such as cp1252"
    ]
    assert "Gr\\xf6\\xdfe" in broken(pages)[0].payload
    assert records(pages, "source_id") == [("2",)]
    told = read("a.csv", content, encoding="cp1252")
    assert records(told, "body") == [("„Größe“ – 5 €",), ("b",)]


def test_a_byte_order_mark_beats_the_configuration(read):
    assert records(read("a.csv", CONTENT.encode("utf-8-sig"), encoding="cp1252")) == ROWS


def test_a_byte_that_no_encoding_knows_breaks_its_row_only(read):
    pages = read("a.csv", b"id,at,text\n1,a,\x81\n2,a,b\n", encoding="cp1252")
    assert [(r.row_number, r.payload) for r in broken(pages)] == [(1, "1,a,\\x81")]
    halved = CONTENT.encode("utf-16-le")[:-3]
    assert len(broken(read("b.csv", halved))) == 1


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.json", "a.parquet"])
def test_a_cut_file_is_refused_as_a_whole(read, compress, name):
    whole = compress(b"".join(b'{"id": %d}\n' % n for n in range(50_000)))
    with pytest.raises(PermanentSourceError, match=r"a\.\w+ (cannot be read|is read) as"):
        read(name, whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", b"<!DOCTYPE html><html><body>Log in</body></html>", "an HTML or XML page"),
        ("a.csv", b"\xef\xbb\xbf\n <html>\n", "an HTML or XML page"),
        ("a.ndjson", b'<?xml version="1.0"?>', "an HTML or XML page"),
        ("a.csv", b"PK\x03\x04rest", "a ZIP archive or an Excel workbook"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0rest", "an .xls or an encrypted workbook"),
        ("a.csv", b"PAR1rest", "a Parquet file"),
        ("a.tsv", b"%PDF-1.7", "a PDF document"),
        ("a.csv", b'[{"id": 1}]', "JSON"),
        ("a.parquet", b'{"id": 1}', "JSON"),
    ],
)
def test_a_file_that_is_something_else_is_refused_by_what_it_is(read, name, content, what):
    with pytest.raises(PermanentSourceError, match=what):
        read(name, content)


@pytest.mark.parametrize("name", [f"a.{s}" for s in ("csv", "tsv", "ndjson", "json", "xlsx")])
def test_a_file_of_no_bytes_has_no_records(read, name):
    assert read(name, b"") == []


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.ndjson", "a.json"])
@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"\n", b"  \r\n\r\n"])
def test_a_file_of_white_space_has_no_records(read, name, content):
    pages = read(name, content)
    assert records(pages) == []
    assert broken(pages) == []
