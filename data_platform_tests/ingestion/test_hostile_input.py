"""Input that is made to do harm: each attack is met in a process of its own, with bounds on memory and time."""

import gzip
import io
import json
import multiprocessing
import os
import re
import resource
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from data_platform.cleaning.privacy import Redaction, redact
from data_platform.errors import DataPlatformError, PermanentSourceError, ThrottledError
from data_platform.ingestion.connectors.app_store import _parsed as parsed_reviews
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.connectors.http import Answer, Budget, HiccupError, Http
from data_platform.ingestion.connectors.json_records import parse_json, parse_object
from data_platform.ingestion.connectors.rss import _parsed as parsed_feed
from data_platform.ingestion.connectors.throttling import retry_moment
from data_platform.monitoring.harmless import harmless
from data_platform_tests.ingestion.conftest import file_feed
from data_platform_tests.ingestion.connectors.conftest import broken, records
from data_platform_tests.ingestion.platforms.server import PlatformServer, Reply, status

MEBIBYTE = 1024**2
NOW = datetime(2026, 8, 1, tzinfo=UTC)
FORK = multiprocessing.get_context("fork")


def bounded(action, *, mebibytes=500, seconds=30):
    """Return what `action` returns in a process of its own that may take so much more memory and time.

    Errors of the platform come back as their text; a process that is killed fails the test.
    """
    ours, theirs = FORK.Pipe(duplex=False)

    def work():
        # The high-water mark of a fork begins with that of its parent; what is mapped now is told here.
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + mebibytes * MEBIBYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        try:
            theirs.send(action())
        except DataPlatformError as error:
            theirs.send(f"{type(error).__name__}: {error}")
        except MemoryError:
            theirs.send("out of memory")

    process = FORK.Process(target=work)
    process.start()
    theirs.close()
    try:
        assert ours.poll(seconds * 3), "it took too long"
        return ours.recv()
    finally:
        process.kill()
        process.join()


def read_file(folder, name, content, **changes):
    """Return (records, broken records) of one file, or the text of the error; nothing that is large."""
    path = folder / "incoming" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    connector = FileConnector(file_feed(**{"path": f"incoming/{name}", **changes}), folder)

    def action():
        good = bad = 0
        for page in connector.read(connector.files()[0]):
            good, bad = good + page.records.num_rows, bad + len(page.broken)
        return good, bad

    return action


def zstd(blocks):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        for block in blocks:
            stream.write(block)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.json", "a.parquet"])
@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(home, name, packing):
    blocks = [b"id,at,text\n", *[b"0" * MEBIBYTE] * 400]
    content = gzip.compress(b"".join(blocks), 9) if packing == "gzip" else zstd(blocks)
    assert len(content) < 2 * MEBIBYTE
    told = bounded(read_file(home, name, content), mebibytes=1200)
    assert re.search("unpacks to more than|would have to be held in memory", str(told)), told


def test_a_file_that_shrinks_well_without_being_a_bomb_is_read(home):
    rows = b"".join(b"%d,2024-03-01,I love it very much\n" % n for n in range(50_000))
    assert bounded(read_file(home, "a.csv.gz", gzip.compress(b"id,at,text\n" + rows))) == (
        50_000,
        0,
    )


def workbook(sheet, **parts):
    content = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.'
        'spreadsheetml.sheet.main+xml"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
        'officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
        ' xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
        '<sheet name="a" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        'relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": sheet,
        **parts,
    }
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return sink.getvalue()


MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
HEADER = "".join(
    f'<c r="{column}1" t="inlineStr"><is><t>{name}</t></is></c>'
    for column, name in (("A", "id"), ("B", "at"), ("C", "text"))
)
LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a0 "lol">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    + "]>"
)


def sheet_of(rows, before=""):
    head = f"{before}<worksheet {MAIN}><dimension ref='A1:XFD1048576'/><sheetData>"
    return f"{head}<row r='1'>{HEADER}</row>{rows}</sheetData></worksheet>"


@pytest.mark.parametrize(
    ("sheet", "expected"),
    [
        (sheet_of("<row r='2'><c r='A2'><v>1</v></c></row>"), "(1, 0)"),
        (sheet_of("<row r='1048576'><c r='A1048576'><v>1</v></c></row>"), "(1, 0)"),
        (
            sheet_of("<row r='99999999999'><c r='A99999999999'><v>1</v></c></row>"),
            "rows are not read",
        ),
        (sheet_of("<row><c r='XFD2'><v>1</v></c></row>" * 100_000), "rows are not read"),
        (sheet_of(" " * (300 * MEBIBYTE)), "unpacked it would be"),
        (sheet_of("<row r='2'><c r='A2'><v>&a11;</v></c></row>", LAUGHS), "cannot be read as xlsx"),
    ],
)
def test_a_workbook_that_claims_to_be_huge_costs_little(home, sheet, expected):
    told = bounded(read_file(home, "a.xlsx", workbook(sheet)), seconds=60)
    assert expected.strip("()") in str(told), told


SECRET_FILE = "root-of-the-machine"


@pytest.mark.parametrize("parse", [parsed_feed, parsed_reviews])
@pytest.mark.parametrize("attack", ["laughs", "file"])
def test_entities_in_feeds_of_xml_neither_grow_nor_fetch(home, parse, attack):
    (home / "secret").write_text(SECRET_FILE)
    outside = f'<!DOCTYPE x [<!ENTITY a11 SYSTEM "file://{home}/secret">]>'
    document = (
        f'<?xml version="1.0"?>{LAUGHS if attack == "laughs" else outside}'
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>&a11;</title><entry><id>1</id>'
        "<title>&a11;</title><summary>&a11;</summary><updated>2026-01-01T00:00:00Z</updated>"
        "</entry></feed>"
    )
    answer = Answer("http://a/", 200, {}, document.encode(), NOW)

    def action():
        try:
            return str(parse(answer))
        except HiccupError as error:
            return str(error)

    told = bounded(action)
    assert len(told) < 100_000
    assert SECRET_FILE not in told
    assert told != "out of memory"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_json_that_is_nested_100_000_deep_is_no_record(text):
    assert bounded(lambda: parse_object('{"id": ' + text + "}")) is None

    def action():
        try:
            return parse_json(text)
        except (ValueError, RecursionError) as error:
            return type(error).__name__

    assert bounded(action) in ("JSONDecodeError", "RecursionError", "ValueError")


@pytest.mark.parametrize(
    "number", ["9" * 1_000_000, "1e" + "9" * 1_000_000, "-0." + "0" * 1_000_000]
)
def test_a_number_of_a_million_digits_is_text_and_costs_no_time(number):
    found = bounded(lambda: str(parse_object(f'{{"id": {number}}}'))[:100], seconds=5)
    assert found.startswith("{'id': '")


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("a.csv", b'id,at,text\n1,a,"', b'"\n2,a,b\n', (1, 1)),
        ("a.ndjson", b'{"id": 1, "at": "a", "text": "', b'"}\n{"id": 2, "at": "a"}\n', (1, 1)),
    ],
)
def test_a_field_of_200_megabytes_is_kept_aside_without_holding_it(
    home, name, before, after, expected
):
    content = before + b"x" * (200 * MEBIBYTE) + after
    assert bounded(read_file(home, name, content), mebibytes=700) == expected


@pytest.mark.parametrize(
    "name", ["../x", "/etc", "a/b", "a\n", "a\x1b[31m", "x" * 42, "", "a;DROP", "a.b"]
)
def test_a_feed_is_named_by_letters_digits_and_underscores_alone(name):
    with pytest.raises(ValidationError):
        file_feed(name=name)


HOSTILE_NAMES = [
    "line\nERROR forged.csv",
    "\x1b[31mred\x1b]0;title\x07.csv",
    "\u202egnp.csv",
    "a" * 250 + ".csv",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_the_name_of_a_file_cannot_act_on_a_terminal_or_forge_a_line(home, name):
    (home / "incoming").mkdir()
    (home / "incoming" / name).write_bytes(b"<!doctype html><html>")
    connector = FileConnector(file_feed(path="incoming"), home)
    (file,) = connector.files()
    with pytest.raises(PermanentSourceError) as error:
        list(connector.read(file))
    assert str(error.value).isprintable()


def test_links_are_followed_to_files_and_to_no_folder(home):
    """Who may write into the folder may name any file that the platform may read: see docs/safety.md."""
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "a.csv").write_text("id,at,text\n1,2024-03-01,x\n")
    (home / "incoming").mkdir()
    (home / "incoming" / "folder").symlink_to(home / "elsewhere")
    (home / "incoming" / "loop").symlink_to(home / "incoming")
    (home / "incoming" / "dangling.csv").symlink_to(home / "nowhere")
    assert FileConnector(file_feed(path="incoming"), home).files() == []
    (home / "incoming" / "one.csv").symlink_to(home / "incoming" / "real.csv")
    (home / "incoming" / "real.csv").write_text("id,at,text\n1,2024-03-01,x\n")
    names = [file.path.name for file in FileConnector(file_feed(path="incoming"), home).files()]
    assert sorted(names) == ["one.csv", "real.csv"]
    (home / "incoming" / "outside.csv").symlink_to(home / "elsewhere" / "a.csv")
    names = [file.path.name for file in FileConnector(file_feed(path="incoming"), home).files()]
    assert "outside.csv" not in names


SQL = "x\"'; DROP TABLE raw_feedback; --"


def test_sql_in_names_of_columns_is_a_name(home):
    path = home / "incoming" / "a.ndjson"
    path.parent.mkdir()
    path.write_text(json.dumps({SQL: "1", "at": "2024-03-01", "text": SQL}) + "\n")
    fields = {"source_id": SQL, "posted_at": "at", "body": "text"}
    connector = FileConnector(file_feed(path="incoming", fields=fields, keep=[SQL]), home)
    pages = list(connector.read(connector.files()[0]))
    assert records(pages, "source_id", "body") == [("1", SQL)]
    assert broken(pages) == []


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "@",
        ".",
        "1",
        "1 ",
        "<",
        "&",
        "a@",
        "http://",
        "()",
        "\u0301",
        "-",
        "1.",
        "a.",
        ":",
        "<a ",
        "+1",
    ],
)
def test_a_text_of_one_megabyte_of_one_thing_is_cleaned_in_seconds(unit):
    text = pa.array([unit * (1_000_000 // len(unit))])
    everything = frozenset({"email", "phone", "card", "iban", "ip", "national_id"})
    redaction = Redaction(everything, ("US", "DE"), ("BR", "DE", "ES", "FR", "IT"))

    def action():
        started = time.monotonic()
        redact(text, redaction)
        harmless(text[0].as_py())
        return time.monotonic() - started

    assert bounded(action, mebibytes=1_500, seconds=20) < 20


HOSTILE_VALUES = [
    "1" * 400,
    "-1",
    "NaN",
    "inf",
    "1e308",
    "9" * 12,
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 +9999",
    "Mon, 01 Jan 99999999999 00:00:00 GMT",
    "\x00",
    "٣",
    "",
]


@pytest.mark.parametrize("date", [None, *HOSTILE_VALUES])
@pytest.mark.parametrize("value", HOSTILE_VALUES)
def test_no_header_breaks_the_count_of_the_pause(date, value):
    headers = {"retry-after": value, "x-ratelimit-reset": value} | ({"date": date} if date else {})
    moment = retry_moment(headers, NOW)
    assert moment is None or NOW <= moment <= NOW + timedelta(days=366 * 4)


@pytest.fixture
def server():
    made = PlatformServer(lambda _: Reply({"fine": True}))
    yield made
    made.close()


@pytest.fixture
def http():
    made = Http(Budget(), sleep=lambda _: None, secrets=["canary-secret"])
    made.authorize = lambda _: {"X-Api-Key": "canary-secret"}
    yield made
    made.close()


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:{port}/",
        "http://127.0.0.1:1/",
        "//other.example/x",
        "ftp://127.0.0.1/",
        "http://user:pass@127.0.0.1.other.example/",
        "http://[::1]/",
        "gopher://\x1b[31m",
    ],
)
def test_a_redirect_leads_to_no_other_server_and_carries_no_secret(http, server, target):
    port = server.url.rpartition(":")[2]
    reached = PlatformServer(lambda _: Reply({"reached": True}))
    try:
        location = target.format(port=reached.url.rpartition(":")[2] or port)
        server.fault = lambda _, __: Reply({}, 302, {"Location": location})
        with pytest.raises(DataPlatformError) as error:
            http.get_json(f"{server.url}/a")
        assert str(error.value).isprintable()
        assert reached.requests == []
        assert "canary" not in str(error.value)
    finally:
        reached.close()


def test_a_redirect_on_the_same_server_is_followed_and_a_circle_ends(http, server):
    server.faults = [lambda _, __: Reply({}, 301, {"Location": "/b"}), None]
    assert http.get_json(f"{server.url}/a") == {"fine": True}
    assert [r.path for r in server.requests] == ["/a", "/b"]
    server.fault = lambda _, __: Reply({}, 302, {"Location": "/a"})
    with pytest.raises(DataPlatformError):
        http.get_json(f"{server.url}/a")
    assert len(server.requests) < 50


def test_a_header_that_cannot_be_sent_is_told_without_the_secret(http, server):
    http.authorize = lambda _: {"X-Api-Key": "line\nbreak canary-secret"}
    with pytest.raises(DataPlatformError) as error:
        http.get_json(server.url)
    chain = f"{error.value!s}{error.value.__cause__}"
    assert "canary" not in chain
    assert error.value.__suppress_context__


def test_an_answer_that_wants_a_pause_of_years_ends_the_run_and_says_until_when(http, server):
    server.fault = status(429, Retry_After="90000000")
    with pytest.raises(ThrottledError, match="not before"):
        http.get_json(server.url)
