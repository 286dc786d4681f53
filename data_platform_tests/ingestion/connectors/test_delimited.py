"""CSV and TSV as people export them: each row comes out exactly, or says where it is broken."""

import csv
import io
import random

import pytest

from data_platform.errors import PermanentSourceError
from data_platform.ingestion.connectors.delimited import BLOCK_CHARACTERS, UNQUOTED
from data_platform.ingestion.connectors.opening import MAX_LINE_CHARACTERS, TOO_LONG
from data_platform.ingestion.connectors.pages import BrokenRecord
from data_platform_tests.ingestion.connectors.conftest import broken, records

HEADER = b"id,at,text\n"
ROW = ("1", "a", "b")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_header(read, delimiter):
    content = "id,at,text\n1,a,b\n".replace(",", delimiter).encode()
    assert records(read("a.csv", content)) == [ROW]


def test_a_tsv_is_told_by_its_suffix_and_its_commas_are_text(read):
    assert records(read("a.tsv", b"id\tat\ttext\n1\ta\tb, c\n")) == [("1", "a", "b, c")]
    assert records(read("a.tsv.gz", b"id\tat\ttext\n1\ta\tb\n")) == [ROW]
    assert records(read("a.txt", b"id\tat\ttext\n1\ta\tb\n", format="tsv")) == [ROW]


def test_quotes_are_letters_where_the_feed_says_so(read):
    content = b'id\tat\ttext\n1\ta\t"open\n2\ta\tsay "hi"\n3\ta\t"both"\n'
    found = records(read("a.tsv", content, quoted=False), "body")
    assert found == [('"open',), ('say "hi"',), ('"both"',)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_may_end_in_any_way_and_the_last_in_none(read, end, last):
    content = end.join([b"id,at,text", b'1,a,"x\ny"', b"", b"2,a,b"]) + (end if last else b"")
    assert records(read("a.csv", content)) == [("1", "a", "x\ny"), ("2", "a", "b")]


def test_empty_lines_and_rows_of_empty_cells_are_nothing(read):
    content = HEADER + b"\n  \n1,a,b\n,,\n\r\n2,a,b\n,,\n,,\n"
    pages = read("a.csv", content)
    assert records(pages, "row_number", "source_id") == [(1, "1"), (2, "2")]
    assert broken(pages) == []


@pytest.mark.parametrize(
    "above",
    [
        b"Reviews of March\n\n",
        b'"Exported by Ann, Bob"\nPeriod:;March\n\n\n',
        b"# made by a tool\n# at noon\n",
        b",,\nTitle,,\n,,\n",
        "Bericht für März\n".encode(),
    ],
)
def test_the_header_may_stand_below_a_title(read, above):
    assert records(read("a.csv", above + HEADER + b"1,a,b\n")) == [ROW]


def test_a_header_may_hold_spaces_around_its_names(read):
    assert records(read("a.csv", b" id , at,text \n1,a,b\n")) == [ROW]


def test_a_file_without_a_header_is_refused_until_its_columns_are_named(read):
    content = b"1,a,b\n2,2024-03-01,the secret text\n"
    with pytest.raises(PermanentSourceError, match="name its columns under columns") as caught:
        read("a.csv", content)
    assert "secret" not in str(caught.value)
    found = records(read("a.csv", content, columns=["id", "at", "text"]), "source_id")
    assert found == [("1",), ("2",)]
    semicolons = content.replace(b",", b";")
    assert len(records(read("b.csv", semicolons, columns=["id", "at", "text"]))) == 2


def test_a_header_that_is_there_after_all_is_no_record(read):
    pages = read("a.csv", HEADER + b"1,a,b\n", columns=["id", "at", "text"])
    assert records(pages, "row_number", "source_id") == [(1, "1")]


def test_a_column_that_was_renamed_in_one_file_is_found_under_its_other_name(read):
    fields = {"source_id": "id", "posted_at": "at", "body": ["text", "message"]}
    for name in ("text", "message"):
        content = f"id,at,{name}\n1,a,b\n".encode()
        assert records(read("a.csv", content, fields=fields)) == [ROW]
    with pytest.raises(PermanentSourceError, match="Did you mean 'texts'"):
        read("a.csv", b"id,at,texts\n1,a,b\n", fields=fields)


def test_a_second_column_of_a_name_is_kept_in_the_payload(read):
    (page,) = read("a.csv", b"id,x,at,x,text\n1,first,a,second,b\n")
    payload = '{"id": "1", "x": "first", "at": "a", "x_2": "second", "text": "b"}'
    assert page.payload(0) == payload


def test_comment_lines_are_left_out_only_where_the_feed_says_so(read):
    content = b'#top\nid,at,text\n#1,a,"b\n1,a,"x\n#y"\n# end\n2,a,b\n'
    pages = read("a.csv", content, comment="#")
    assert records(pages) == [("1", "a", "x\n#y"), ("2", "a", "b")]
    assert broken(pages) == []
    assert len(broken(read("a.csv", content))) == 2


# --- rows that are not whole


def test_a_quote_that_is_never_closed_takes_no_other_row_along(read):
    rows = b"".join(b"%d,a,b\n" % n for n in range(2, 30_000))
    pages = read("a.csv", HEADER + b'1,a,"open\n' + rows)
    assert broken(pages) == [BrokenRecord(1, UNQUOTED, '1,a,"open')]
    found = records(pages, "row_number", "source_id")
    assert found == [(n, str(n)) for n in range(2, 30_000)]


def test_a_quote_that_is_closed_by_that_of_a_later_row_takes_no_row_along(read):
    content = HEADER + b'1,a,"open\n2,a,b\n3,a,"closed"\n4,a,b\n5,a,"x",\n6,a,"two\nlines"\n'
    pages = read("a.csv", content)
    assert [record.row_number for record in broken(pages)] == [1, 5]
    assert [body for (body,) in records(pages, "body")] == ["b", "closed", "b", "two\nlines"]


@pytest.mark.parametrize("row", [b'1,a,"say "hi" now"', b'1,a,"b" c', b'"1"x,a,b'])
def test_a_row_whose_quotes_are_not_doubled_is_kept_aside_as_it_stands(read, row):
    pages = read("a.csv", HEADER + row + b"\n2,a,b\n")
    assert broken(pages) == [BrokenRecord(1, UNQUOTED, row.decode())]
    assert records(pages, "source_id") == [("2",)]


def test_a_quoted_field_may_span_many_blocks(read):
    long = "line, of text\n" * (2 * BLOCK_CHARACTERS // 14)
    pages = read("a.csv", HEADER + f'1,a,"{long}"\n2,a,b\n'.encode())
    assert records(pages) == [("1", "a", long), ("2", "a", "b")]
    assert broken(pages) == []


def test_a_line_longer_than_any_post_is_cut_kept_aside_and_read_past(read):
    content = HEADER + b"1,a," + b"x" * (2 * MAX_LINE_CHARACTERS + 5) + b",y\n2,a,b\n"
    pages = read("a.csv", content)
    assert [(r.row_number, r.reason) for r in broken(pages)] == [(1, TOO_LONG)]
    assert records(pages, "row_number", "source_id") == [(2, "2")]


def test_a_field_of_ten_million_characters_is_read(read):
    text = "x" * 10_000_000
    assert records(read("a.csv", HEADER + f"1,a,{text}\n".encode())) == [("1", "a", text)]


def test_every_row_is_read_or_broken_whatever_stands_in_the_file(read):
    """A seeded storm of delimiters, quotes and line ends: each line is told of, once, in order."""
    storm = random.Random(5)
    for round_number in range(200):
        lines = []
        for n in range(storm.randrange(1, 8)):
            noise = "".join(storm.choice('ab",\n\r;\x00é') for _ in range(storm.randrange(12)))
            lines.append(f"{n},{noise}")
        pages = read(f"{round_number}.csv", HEADER + "\n".join(lines).encode())
        numbers = [r for (r,) in records(pages, "row_number")]
        numbers += [record.row_number for record in broken(pages)]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        told = "".join(page.payload(i) for page in pages for i in range(page.records.num_rows))
        told += "".join(record.payload for record in broken(pages))
        for n in range(len(lines)):
            assert str(n) in told


def test_what_a_csv_writer_writes_is_read_back_exactly(read):
    storm = random.Random(7)
    rows = [
        [str(n), "a", "".join(storm.choices('x",\n\r ;\t|\x00é❤', k=storm.randrange(1, 20)))]
        for n in range(3_000)
    ]
    for delimiter in ",;\t|":
        for end in ("\n", "\r\n"):
            sink = io.StringIO(newline="")
            writer = csv.writer(
                sink, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL
            )
            writer.writerows([["id", "at", "text"], *rows])
            pages = read("a.csv", sink.getvalue().encode())
            assert [list(row) for row in records(pages)] == rows
            assert broken(pages) == []
