"""Excel workbooks: cells become the text that loses nothing, wherever the table stands."""

import io
import zipfile
from datetime import date, datetime
from pathlib import Path

import pytest
from openpyxl import Workbook

from data_platform.errors import PermanentSourceError
from data_platform_tests.ingestion.connectors.conftest import broken, records

HEADER = ["id", "at", "text"]


def workbook(*rows: list[object], sheet: str = "Sheet", before: bool = False) -> bytes:
    book = Workbook()
    book.active.title = "Cover" if before else sheet
    for row in rows:
        (
            book.create_sheet(sheet) if before and sheet not in book.sheetnames else book[sheet]
        ).append(row)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (123456789012345, "123456789012345"),
        ("570306133677760513", "570306133677760513"),
        ("007", "007"),
        (7, "7"),
        (7.0, "7"),
        (2.5, "2.5"),
        (5.70306133677761e17, "5.70306133677761e+17"),
        (True, "true"),
        (datetime(2024, 3, 1, 12, 30), "2024-03-01T12:30:00"),  # noqa: DTZ001 (Excel has no zones)
        (date(2024, 3, 1), "2024-03-01T00:00:00"),
        ("two\nlines ❤️", "two\nlines ❤️"),
        (None, None),
    ],
)
def test_a_cell_becomes_the_text_that_loses_nothing(read, cell, expected):
    assert records(read("a.xlsx", workbook(HEADER, [cell, "a", "b"])), "source_id") == [(expected,)]


def test_the_table_may_stand_below_a_title_with_empty_rows_between(read):
    rows = [["Reviews"], [], HEADER, ["1", "a", "b"], [], [None, None, None], ["2", "a", "c"], []]
    pages = read("a.xlsx", workbook(*rows))
    assert records(pages, "row_number", "source_id") == [(1, "1"), (2, "2")]


def test_rows_may_be_shorter_and_are_broken_if_they_are_longer(read):
    pages = read("a.xlsx", workbook(HEADER, ["1", "a"], ["2", "a", "b", "more"], ["3", "a", "c"]))
    assert records(pages, "source_id", "body") == [("1", ""), ("3", "c")]
    assert [(r.row_number, r.reason) for r in broken(pages)] == [(2, "4 columns instead of 3")]


def test_a_sheet_is_chosen_by_name(read):
    content = workbook(HEADER, ["1", "a", "b"], sheet="Data", before=True)
    assert records(read("a.xlsx", content, sheet="Data"), "source_id") == [("1",)]
    with pytest.raises(PermanentSourceError, match="its sheets: 'Cover', 'Data'"):
        read("a.xlsx", content, sheet="data")


def test_a_workbook_without_a_header_is_read_under_named_columns(read):
    content = workbook(["1", "a", "b"])
    with pytest.raises(PermanentSourceError, match="column 'id'"):
        read("a.xlsx", content)
    assert records(read("a.xlsx", content, columns=HEADER), "source_id") == [("1",)]


def test_an_empty_sheet_has_no_records(read):
    assert read("a.xlsx", workbook()) == []
    assert records(read("a.xlsx", workbook(HEADER))) == []


@pytest.mark.parametrize("content", [b"PK\x03\x04 not a zip", b"text"])
def test_what_is_no_workbook_is_refused(read, content):
    with pytest.raises(PermanentSourceError, match="cannot be read as xlsx"):
        read("a.xlsx", content)


def test_a_truncated_workbook_is_refused(read):
    content = workbook(HEADER, *[[str(n), "a", "b" * 100] for n in range(1_000)])
    with pytest.raises(PermanentSourceError, match="cannot be read as xlsx"):
        read("a.xlsx", content[: len(content) // 2])


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml"])
def test_a_workbook_with_a_damaged_part_is_refused_and_closed(read, part):
    """Left open, it would be told as a warning, which is an error here."""
    sink = io.BytesIO()
    content = io.BytesIO(workbook(HEADER, ["1", "a", "b"]))
    with zipfile.ZipFile(content) as whole, zipfile.ZipFile(sink, "w") as damaged:
        for name in whole.namelist():
            text = whole.read(name)
            damaged.writestr(name, text[: len(text) // 2] if name == part else text)
    with pytest.raises(PermanentSourceError, match="cannot be read as xlsx"):
        read("a.xlsx", sink.getvalue())


def test_the_file_that_excel_keeps_beside_an_open_workbook_is_left_alone(home: Path, read):
    (home / "incoming").mkdir()
    (home / "incoming" / "~$a.xlsx").write_bytes(b"owner")
    assert len(records(read("a.xlsx", workbook(HEADER, ["1", "a", "b"]), path="incoming"))) == 1


def test_an_old_workbook_is_not_passed_over_in_a_folder(read):
    with pytest.raises(PermanentSourceError, match=r"save it as \.xlsx"):
        read("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", path="incoming")
