"""Files as they are found in the wild: each record comes out exactly, or says where it is broken."""

import gzip
import json
import os
import tempfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_platform.errors import PermanentSourceError, TransientSourceError
from data_platform.ingestion.connectors.delimited import BLOCK_CHARACTERS as BLOCK_BYTES
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.connectors.pages import BrokenRecord
from data_platform.ingestion.connectors.parquet import BATCH_ROWS
from data_platform_tests.ingestion.conftest import file_feed
from data_platform_tests.ingestion.connectors.conftest import broken, records

HEADER = b"id,at,text\n"


# --- CSV


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (b'1,a,"two\nlines"\n', ("1", "a", "two\nlines")),
        (b'1,a,"say ""hi"", now"\n', ("1", "a", 'say "hi", now')),
        (b"1,a,fish &amp; chips &#128512;\n", ("1", "a", "fish &amp; chips &#128512;")),
        (b"1,a,\n", ("1", "a", "")),
        (b"1,,x\n", ("1", None, "x")),
        (b",a,x\n", (None, "a", "x")),
        (b"1,a,NULL\n", ("1", "a", "NULL")),
        (b"1,a,nan\n", ("1", "a", "nan")),
        (b"0007,a,x\n", ("0007", "a", "x")),
        (b"9223372036854775809,a,x\n", ("9223372036854775809", "a", "x")),
        (b"570306133677760513,a,x\n", ("570306133677760513", "a", "x")),
        (b"1e5,a, x \n", ("1e5", "a", " x ")),
        ("1,a,naïve ❤️ 日本\n".encode(), ("1", "a", "naïve ❤️ 日本")),
        (b"1,a,b\x00c\n", ("1", "a", "b\x00c")),
        (b'1,a,5" screen\n', ("1", "a", '5" screen')),
        (b"1,a,no line end", ("1", "a", "no line end")),
    ],
)
def test_a_csv_field_is_exactly_what_was_written(read, rows, expected):
    assert records(read("a.csv", HEADER + rows)) == [expected]


def test_a_csv_with_windows_line_ends_keeps_those_inside_of_quotes(read):
    content = b'id,at,text\r\n1,a,"x\r\ny"\r\n2,a,b\r\n'
    assert records(read("a.csv", content)) == [("1", "a", "x\r\ny"), ("2", "a", "b")]


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_a_byte_order_mark_is_no_part_of_the_first_record(read, suffix):
    lines = {"csv": HEADER + b"1,a,b\n", "ndjson": b'{"id": "1", "at": "a", "text": "b"}\n'}
    pages = read(f"a.{suffix}", b"\xef\xbb\xbf" + lines[suffix])
    assert records(pages) == [("1", "a", "b")]


def test_another_delimiter_is_told_by_the_configuration(read):
    assert records(read("a.csv", b"id;at;text\n1;a;b,c\n", delimiter=";")) == [("1", "a", "b,c")]


def test_rows_with_too_few_or_many_columns_are_broken_and_counted_in_place(read):
    rows = b'1,a,b\n2,a\n3,a,b,c\n4,a,b\n5,"a\nb"\n6,a,b\n'
    pages = read("a.csv", HEADER + rows)
    assert broken(pages) == [
        BrokenRecord(2, "2 columns instead of 3", "2,a"),
        BrokenRecord(3, "4 columns instead of 3", "3,a,b,c"),
        BrokenRecord(5, "2 columns instead of 3", '5,"a\nb"'),
    ]
    assert records(pages, "row_number", "source_id") == [(1, "1"), (4, "4"), (6, "6")]


def test_a_csv_of_broken_rows_alone_still_shows_each_of_them(read):
    pages = read("a.csv", HEADER + b"1,a\n2,a\n")
    assert records(pages) == []
    assert [record.row_number for record in broken(pages)] == [1, 2]


def test_a_row_that_is_not_utf8_is_broken_and_its_neighbours_are_not(read):
    pages = read("a.csv", HEADER + b"1,a,b\n2,\xff,b\n3,a,b\n")
    assert broken(pages) == [
        BrokenRecord(2, "not UTF-8 text; set encoding of the feed, such as cp1252", "2,\\xff,b")
    ]
    assert records(pages, "row_number", "source_id") == [(1, "1"), (3, "3")]


def test_a_row_that_is_too_short_and_not_utf8_does_not_stop_the_file(read):
    pages = read("a.csv", HEADER + b"1,a,b\n2,\xff\n3,a,b\n")
    assert records(pages, "source_id") == [("1",), ("3",)]


def test_an_undecodable_row_is_found_under_columns_that_share_a_name(read):
    pages = read("a.csv", b"id,x,x,at,text\n1,\xff,5,a,b\n2,5,\xff,a,b\n3,5,5,a,b\n")
    assert [record.row_number for record in broken(pages)] == [1, 2]
    assert records(pages, "source_id") == [("3",)]


@pytest.mark.parametrize("content", [b"", HEADER, HEADER.strip(), b"id,at,text\r\n"])
def test_a_csv_without_rows_has_no_records(read, content):
    assert records(read("a.csv", content)) == []


def test_a_missing_column_is_named_with_the_nearest_one(read):
    with pytest.raises(PermanentSourceError) as caught:
        read("a.csv", b"id,at,texts\n1,a,b\n")
    assert "column 'text'" in str(caught.value)
    assert "Did you mean 'texts'?" in str(caught.value)
    assert "'id', 'at', 'texts'" in str(caught.value)


def test_a_mapped_column_that_stands_twice_is_refused(read):
    with pytest.raises(PermanentSourceError, match="stands twice"):
        read("a.csv", b"id,id,at,text\n1,2,a,b\n")


def test_a_csv_of_several_blocks_keeps_numbers_and_quoted_lines(read):
    """Row numbers and broken rows must hold over the 16 MB blocks in which a file is read."""
    filler = b"line\n" * 2_000
    rows = [
        b"%d,a\n" % number if number % 1_000 == 0 else b'%d,a,"%s"\n' % (number, filler)
        for number in range(1, 5_001)
    ]
    content = HEADER + b"".join(rows)
    assert len(content) > 2 * BLOCK_BYTES
    pages = read("a.csv", content)
    assert len(pages) > 2
    assert [record.row_number for record in broken(pages)] == [1000, 2000, 3000, 4000, 5000]
    found = records(pages, "row_number", "source_id", "body")
    assert [row[0] for row in found] == [n for n in range(1, 5_001) if n % 1_000]
    assert all(str(n) == source_id and body == filler.decode() for n, source_id, body in found)


def test_the_pages_of_a_long_file_are_bounded(read):
    rows = b"".join(b"%d,2024-01-01,%s\n" % (n, b"x" * 200) for n in range(200_000))
    pages = read("a.csv", HEADER + rows)
    assert sum(page.records.num_rows for page in pages) == 200_000
    assert max(page.records.get_total_buffer_size() for page in pages) < 3 * BLOCK_BYTES


# --- gzip


def test_gzip_is_told_by_the_content_and_not_by_the_name(read):
    content = HEADER + b"1,a,b\n"
    for name, data in [("a.csv", gzip.compress(content)), ("b.csv.gz", content)]:
        assert records(read(name, data)) == [("1", "a", "b")]


def test_a_cut_gzip_file_is_refused_as_a_whole(read):
    with pytest.raises(PermanentSourceError, match="cannot be read as csv"):
        read("a.csv.gz", gzip.compress(HEADER + b"1,a,b\n")[:-6])


# --- NDJSON


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551617", "18446744073709551617"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-9223372036854775809", "-9223372036854775809"),
        ('"007"', "007"),
        ("null", None),
        ('""', None),
    ],
)
def test_an_id_in_ndjson_is_exact_whatever_its_size(read, number, expected):
    line = f'{{"id": {number}, "at": "a", "text": "b"}}\n{{"id": "x", "at": "a", "text": "b"}}\n'
    assert records(read("a.ndjson", line.encode()), "source_id") == [(expected,), ("x",)]


def test_the_text_of_an_ndjson_record_is_exact(read):
    texts = ["two\nlines", "nul \0 nul", 'a "quote"', "❤️ 日本", "", "</script>", "\\u0041"]
    lines = [json.dumps({"id": str(n), "at": "a", "text": t}) for n, t in enumerate(texts)]
    pages = read("a.ndjson", "\n".join(lines).encode())
    assert [body for (body,) in records(pages, "body")] == texts


def test_lines_that_are_no_objects_are_broken_and_empty_ones_are_nothing(read):
    good = b'{"id": 1, "at": "a", "text": "b"}'
    bad = [b"{bad", b"[1]", b"null", b"3", b'"x"', b"{} {}", good + good, b'{"id": "\\ud800"}']
    lines = [good, *bad, b"", b"  \t", good + b"\r", b"\xff", good]
    pages = read("a.ndjson", b"\n".join(lines))
    reasons = {record.row_number: record.reason for record in broken(pages)}
    assert reasons == {
        **dict.fromkeys(range(2, 10), "not a JSON object"),
        13: "not UTF-8 text; set encoding of the feed, such as cp1252",
    }
    assert records(pages, "row_number") == [(1,), (12,), (14,)]
    assert {record.payload for record in broken(pages)} >= {"{bad", "[1]", "null", "\\xff"}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \r\n"])
def test_ndjson_of_empty_lines_has_no_records(read, content):
    pages = read("a.ndjson", content)
    assert records(pages) == []
    assert broken(pages) == []


def test_ndjson_of_malformed_lines_alone_goes_to_quarantine(read):
    pages = read("a.ndjson", b"{\n{\n")
    assert [record.row_number for record in broken(pages)] == [1, 2]


@pytest.mark.parametrize(
    "key",
    ["a b", "a.b", "a/b", 'a"b', "a'b", "a~b", "~0", "a~1b", "0", "$.x", "*", "é", "a\\b", "[0]"],
)
def test_a_key_of_odd_characters_can_be_mapped(read, key):
    line = json.dumps({key: "v", "at": "a", "text": "b", "$": {"x": 1}})
    fields = {"source_id": key, "posted_at": "at", "body": "text"}
    assert records(read("a.ndjson", line.encode(), fields=fields), "source_id") == [("v",)]


def test_ndjson_without_a_mapped_key_is_refused_with_the_keys_that_were_found(read):
    with pytest.raises(PermanentSourceError, match="column 'id'"):
        read("a.ndjson", b'{"ID": 1, "at": "a", "text": "b"}\n')


def test_ndjson_lines_that_span_blocks_stay_whole(read):
    text = "y" * 1_000_000
    lines = [json.dumps({"id": n, "at": "a", "text": text}) for n in range(40)]
    pages = read("a.ndjson", "\n".join(lines).encode())
    assert len(pages) > 2
    assert [row[0] for row in records(pages, "source_id")] == [str(n) for n in range(40)]
    assert all(len(body) == 1_000_000 for (body,) in records(pages, "body"))


def test_further_keys_are_kept_as_canonical_json_only_when_told(read):
    line = b'{"id": 1, "at": "a", "text": "b", "z": "\xc3\xa9", "k": 12345678901234567890123}\n'
    (page,) = read("a.ndjson", line, keep=("z", "k"))
    assert records([page], "source_metadata") == [('{"k": "12345678901234567890123", "z": "é"}',)]
    (page,) = read("b.ndjson", line)
    assert "source_metadata" not in page.records.column_names


# --- Parquet


def parquet(**columns: Any) -> bytes:
    told = {"id": pa.array(["1"]), "at": pa.array(["a"]), "text": pa.array(["b"]), **columns}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(told), sink)
    return sink.getvalue().to_pybytes()


NOON = datetime(2024, 1, 1, 12)  # noqa: DTZ001 (a Parquet timestamp without a zone)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([2**63 - 1]), "9223372036854775807"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([NOON], pa.timestamp("ns")), "2024-01-01 12:00:00.000000"),
        (pa.array([NOON.replace(tzinfo=UTC)]), "2024-01-01 12:00:00.000000Z"),
        (
            pa.array([NOON.replace(tzinfo=timezone(timedelta(hours=2)))]),
            "2024-01-01 10:00:00.000000Z",
        ),
        (pa.array([date(2024, 1, 1)]), "2024-01-01"),
        (pa.array([True]), "true"),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([7]).dictionary_encode(), "7"),
        (pa.array([b"bytes"]), "bytes"),
        (pa.array(["large"], pa.large_string()), "large"),
        (pa.nulls(1), None),
    ],
)
def test_a_parquet_value_becomes_the_text_that_loses_nothing(read, column, expected):
    assert records(read("a.parquet", parquet(at=column)), "posted_at") == [(expected,)]


@pytest.mark.parametrize(
    "changes",
    [{"id": pa.array([1.0])}, {"text": pa.array([["b"]])}, {"text": pa.array([{"x": 1}])}],
)
def test_a_parquet_type_without_exact_text_is_refused_by_name(read, changes):
    with pytest.raises(PermanentSourceError, match=f"column '{next(iter(changes))}' has type"):
        read("a.parquet", parquet(**changes))


def test_a_parquet_column_may_hold_a_dot_and_be_gzipped_or_empty(read):
    fields = {"source_id": "a.b", "posted_at": "at", "body": "text"}
    content = parquet(**{"a.b": pa.array(["v"])})
    assert records(read("a.parquet", content, fields=fields), "source_id") == [("v",)]
    assert records(read("b.parquet", gzip.compress(content))) == [("1", "a", "b")]
    nothing = {name: pa.array([], pa.string()) for name in ("id", "at", "text")}
    assert records(read("c.parquet", parquet(**nothing))) == []


def test_a_parquet_file_is_read_in_batches_with_running_numbers(read):
    count = BATCH_ROWS + 10
    same = {name: pa.array(["x"] * count) for name in ("at", "text")}
    pages = read("a.parquet", parquet(id=pa.array(range(count)), **same))
    assert max(page.records.num_rows for page in pages) <= BATCH_ROWS
    found = records(pages, "row_number", "source_id")
    assert found[0] == (1, "0")
    assert found[-1] == (count, str(count - 1))


def test_a_file_that_is_no_parquet_is_refused_as_a_whole(read):
    with pytest.raises(PermanentSourceError, match="cannot be read as parquet"):
        read("a.parquet", b"PAR1 but no more than that")


# --- which files


def names(connector: FileConnector) -> list[str]:
    return [file.path.name for file in connector.files()]


def test_a_folder_is_searched_in_depth_and_hidden_or_foreign_files_are_left_alone(home):
    for name in ("b.csv", "deep/er/a.NDJSON", "c.parquet.gz", ".d.csv", ".git/e.csv", "notes.txt"):
        path = home / "incoming" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert sorted(names(FileConnector(file_feed(), home))) == ["a.NDJSON", "b.csv", "c.parquet.gz"]
    told = FileConnector(file_feed(format="csv"), home)
    assert "notes.txt" in names(told)


def test_files_come_oldest_first(home):
    for age, name in enumerate(("new.csv", "middle.csv", "old.csv")):
        (home / name).write_text("x")
        os.utime(home / name, ns=(0, 10**18 - age * 10**9))
    connector = FileConnector(file_feed(path="*.csv"), home)
    assert names(connector) == ["old.csv", "middle.csv", "new.csv"]
    assert connector.files()[-1].modified_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


def test_a_glob_takes_what_it_names_and_may_name_nothing_yet(home):
    (home / "in").mkdir()
    assert names(FileConnector(file_feed(path="in/*.csv"), home)) == []
    (home / "in" / "2024-a.csv").write_text("x")
    (home / "in" / "2025-a.csv").write_text("x")
    assert names(FileConnector(file_feed(path="in/2024-*.csv"), home)) == ["2024-a.csv"]
    assert names(FileConnector(file_feed(path=str(home / "*" / "2025*")), home)) == ["2025-a.csv"]


@pytest.mark.parametrize("path", ["in", "in/*.csv", "in/a.csv"])
def test_a_bracket_in_the_path_of_the_project_is_no_wildcard(home, path):
    """Without this, a feed below such a folder finds nothing, and says nothing."""
    base = home / "[project]"
    (base / "in").mkdir(parents=True)
    (base / "in" / "a.csv").write_text("x")
    assert names(FileConnector(file_feed(path=path), base)) == ["a.csv"]


def test_a_folder_inside_that_may_not_be_read_is_named_and_not_passed_over():
    """Its files would look withdrawn, and new ones in it would never be seen."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        closed = Path(name) / "in" / "closed"
        closed.mkdir(parents=True)
        (closed / "a.csv").write_text("x")
        for folder in (Path(name), closed.parent):
            folder.chmod(0o755)
        for private in (".hidden", "lost+found"):
            (closed.parent / private).mkdir(mode=0o700)
        closed.chmod(0o700)
        connector = FileConnector(file_feed(path="in"), Path(name))
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)  # rights do not stop root
        else:
            closed.chmod(0)
        try:
            with pytest.raises(TransientSourceError, match=f"{closed} may not be read"):
                connector.files()
            os.seteuid(user)
            closed.chmod(0o755)
            os.seteuid(65_534 if user == 0 else user)
            assert connector.files()
        finally:
            os.seteuid(user)
            closed.chmod(0o700)


def test_a_missing_folder_is_named_with_the_configured_path(home):
    with pytest.raises(PermanentSourceError) as caught:
        FileConnector(file_feed(path="incomming/*.csv"), home).files()
    assert "incomming does not exist" in str(caught.value)
    assert "'incomming/*.csv'" in str(caught.value)


def test_an_unknown_suffix_is_refused_unless_the_format_is_told(read):
    with pytest.raises(PermanentSourceError, match="unknown suffix"):
        read("a.data", HEADER + b"1,a,b\n")
    assert records(read("a.data", HEADER + b"1,a,b\n", format="csv")) == [("1", "a", "b")]


def test_the_payload_of_a_record_is_what_the_source_wrote(read):
    (page,) = read("a.csv", b"id,at,text,more\n1,a,b,c\n")
    assert json.loads(page.payload(0)) == {"id": "1", "at": "a", "text": "b", "more": "c"}
    (page,) = read("a.ndjson", b'{"id":1,  "at":"a","text":"b"}\n')
    assert page.payload(0) == '{"id":1,  "at":"a","text":"b"}'


def test_the_airline_tweets_come_out_whole(test_data):
    """14,640 real records with quoted line breaks and HTML entities."""
    path = test_data("airline_tweets.csv")
    fields = {"source_id": "tweet_id", "posted_at": "tweet_created", "body": "text"}
    connector = FileConnector(file_feed(path=str(path), fields=fields), path.parent)
    pages = list(connector.read(connector.files()[0]))
    assert broken(pages) == []
    found = records(pages, "source_id", "body")
    assert len(found) == 14_640
    assert all(source_id.isdigit() and len(source_id) == 18 for source_id, _ in found)
    assert any("\n" in body for _, body in found)
    assert any("&amp;" in body for _, body in found)
