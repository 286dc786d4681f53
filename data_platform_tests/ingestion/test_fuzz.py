"""Input of any kind ends in rows, in quarantine or in an error that says why, soon, and nothing is lost."""

import asyncio
import csv
import gzip
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_platform.ingestion.collect import Collection, OpenDays, split_by_day
from data_platform.ingestion.connectors.connector import Listing, Window, iso, utc
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.connectors.json_records import parse_json
from data_platform.ingestion.connectors.throttling import is_used_up, retry_moment
from data_platform.ingestion.contract import DAY_NOT_OPEN, REFUSED_SCHEMA, Delivery, PostContract
from data_platform.ingestion.dates import format_advice
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.intake import webhook_application
from data_platform.ingestion.pull import page_of, pull
from data_platform.ingestion.replay import replay_quarantine
from data_platform.settings import Environment, load_settings
from data_platform_tests.examples import examples, within
from data_platform_tests.ingestion.conftest import file_feed
from data_platform_tests.ingestion.platforms.platform import Platform
from data_platform_tests.ingestion.platforms.server import Reply, Request
from data_platform_tests.ingestion.platforms.stored import landed_rows
from data_platform_tests.ingestion.test_collect import KEY, OPEN, Place
from data_platform_tests.ingestion.test_intake import BLOCK, SECRET, answer, post_to
from data_platform_tests.ingestion.test_platforms import PLATFORMS
from data_platform_tests.mutations import (
    BYTE_CHANGES,
    ODD_TEXTS,
    VALUE_CHANGES,
    VALUES,
    as_json,
    changed_bytes,
    changed_value,
)

SECONDS = 5.0
ROWS = [
    {"id": f"{n}", "at": f"2024-03-0{n}T10:00:00Z", "text": f'so, "so" {n}', "more": "ü"}
    for n in range(1, 7)
]
MAYBE_CHANGED = st.one_of(st.just([]), BYTE_CHANGES, BYTE_CHANGES, BYTE_CHANGES)


def as_table(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*ROWS[0]], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def as_workbook() -> dict[str, bytes]:
    """Return the files that a workbook is an archive of."""
    openpyxl = pytest.importorskip("openpyxl")
    workbook, sink = openpyxl.Workbook(), io.BytesIO()
    workbook.active.append([*ROWS[0]])
    for row in ROWS:
        workbook.active.append([int(row["id"]), date(2024, 3, int(row["id"])), row["text"], 1.5])
    workbook.save(sink)
    with zipfile.ZipFile(sink) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


LINES = [json.dumps(row).encode() for row in ROWS]
DOCUMENTS = {
    "a.csv": as_table(","),
    "a.tsv": as_table("\t"),
    "a.ndjson": b"\n".join(LINES) + b"\n",
    "a.json": json.dumps({"rows": ROWS, "count": 6}).encode(),
}
MOMENTS = [datetime(2024, 3, n + 1, tzinfo=UTC) for n in range(3)]
COLUMNS: tuple[pa.Array, ...] = (
    *(pa.array(["1", "2", None]), pa.array([1, 2, 2**62]), pa.array([1.5, float("nan"), None])),
    *(pa.array([b"\xff", b"1", b"\x00"]), pa.array([[1], [], None]), pa.nulls(3)),
    *(pa.array([{"a": 1}, None, {"a": 2}]), pa.array([True, None, False])),
    *(
        pa.array(MOMENTS, pa.timestamp(unit, zone))
        for unit in ("s", "us", "ns")
        for zone in (None, "UTC")
    ),
    *(
        pa.array([10**15, -(10**15), 0], pa.timestamp("s")),
        pa.array([10**12, 0, -1], pa.timestamp("s", "UTC")),
    ),
    *(pa.array(["a", "b", "a"]).dictionary_encode(), pa.array(["a", "b", "c"], pa.large_string())),
    *(
        pa.array([Decimal("1.50")] * 3),
        pa.array([date(2024, 3, 1)] * 3),
        pa.array([1, 2, 3], pa.duration("s")),
    ),
    *(pa.array([1, 2, 3], pa.time32("s")), pa.array(["2024-03-01"] * 3, pa.string_view())),
    pa.MapArray.from_arrays(pa.array([0, 1, 1, 1]), pa.array(["a"]), pa.array([1])),
)


@st.composite
def files(draw: st.DrawFn, name: str) -> bytes:
    """A file of the format that its name says, more or less."""
    changes = draw(MAYBE_CHANGED)
    if name == "a.xlsx":
        parts = as_workbook()
        part = draw(st.sampled_from(sorted(parts)))
        parts[part] = changed_bytes(parts[part], changes)
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, content in parts.items():
                archive.writestr(path, content)
        return changed_bytes(
            sink.getvalue(), draw(st.one_of(st.just([]), st.just([]), BYTE_CHANGES))
        )
    if name == "a.parquet":
        table = pa.table({column: draw(st.sampled_from(COLUMNS)) for column in ROWS[0]})
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        content = buffer.getvalue().to_pybytes()
        return changed_bytes(content, draw(st.one_of(st.just([]), BYTE_CHANGES)))
    if name == "a.json" and draw(st.booleans()):
        document = json.loads(DOCUMENTS[name])
        return as_json(changed_value(document, draw(VALUE_CHANGES)))
    return changed_bytes(DOCUMENTS[name], changes)


@st.composite
def packed(draw: st.DrawFn, name: str) -> tuple[str, bytes]:
    content = draw(st.one_of(files(name), files(name), files(name), st.binary(max_size=200)))
    match draw(st.sampled_from(["", "", "", "gz", "zst", "broken"])):
        case "gz":
            return f"{name}.gz", gzip.compress(content, mtime=0)
        case "zst":
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, "zstd") as stream:
                stream.write(content)
            return f"{name}.zst", sink.getvalue().to_pybytes()
        case "broken":
            return f"{name}.gz", changed_bytes(gzip.compress(content, mtime=0), draw(BYTE_CHANGES))
    return name, content


@pytest.mark.parametrize("name", [*DOCUMENTS, "a.xlsx", "a.parquet"])
@examples(8)
@given(data=st.data())
def test_any_file_becomes_rows_and_quarantine_or_a_gap(name, data):
    name, content = data.draw(packed(name))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl tells what a damaged workbook lacks
        place = Place(Path(folder))
        (place.incoming / name).write_bytes(content)
        with within(SECONDS):
            found = place.collect(keep=["more"])
        posts, refused = place.posts(), place.refused()
        broken = [row for row in refused if row["reason"] != DAY_NOT_OPEN]
        assert found.read_count == len(posts) + len(broken)
        assert found.refused_count == len(broken)
        assert len(found.errors) == len(place.ledger.gaps("shop"))
        if found.errors:
            assert (posts, refused) == ([], [])
        elif name == "a.ndjson" and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            lines = content.split(b"\n")
            if b"\x00" not in content[:4096]:
                assert found.read_count >= sum(line in LINES for line in lines)
                ids = {source_id for _, source_id, _ in posts}
                assert {
                    row["id"] for row, line in zip(ROWS, LINES, strict=True) if line in lines
                } <= ids
        replayed = replay_quarantine(
            FileConnector(file_feed(keep=["more"]), place.home),
            place.landing,
            place.ledger,
            author_key=KEY,
            open_days=OPEN,
        )
        assert replayed.released_count == 0
        assert len(place.refused()) == len(refused)


@pytest.fixture(autouse=True, scope="module")
def _no_long_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        http = "data_platform.ingestion.connectors.http"
        patch.setattr(f"{http}.LONGEST_BACKOFF_SECONDS", 0.001)
        patch.setattr(f"{http}.LONGEST_SLEEP", timedelta(seconds=0.2))
        yield


@pytest.fixture(scope="module", params=PLATFORMS)
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A platform with six posts of the last hour."""
    module = import_module(f"data_platform_tests.ingestion.platforms.{request.param}")
    (cls,) = [
        found for found in vars(module).values() if getattr(found, "kind", "") == request.param
    ]
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in cls.environment.items():
            patch.setenv(variable, value)
        made = cls()
        for number in range(1, 7):
            made.add(number, datetime.now(UTC) - timedelta(hours=1, seconds=number))
        yield made
        made.close()


def feeds_in(folder: str, platform: Platform) -> Feeds:
    """Return the feed `brand` of a platform, with everything in a folder of its own."""
    block = {"name": "brand", "kind": platform.kind, **platform.block()}
    start = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
    path = Path(folder)
    (path / "feedback.yaml").write_text(yaml.safe_dump({"start_date": start, "feeds": [block]}))
    return Feeds(load_settings(Environment(data_platform_home=path / "data"), path))


def refused_rows(feeds: Feeds) -> list[Mapping[str, Any]]:
    segments = feeds.landing.segments(feeds.names, None)
    batches = feeds.landing.read(segments, REFUSED_SCHEMA)
    return [row for batch in batches for row in batch.to_pylist() if row["reason"] != DAY_NOT_OPEN]


def assert_nothing_is_lost(feeds: Feeds, found: Collection) -> None:
    assert found.read_count == landed_rows(feeds) + found.refused_count
    assert len(refused_rows(feeds)) == found.refused_count
    assert len(feeds.ledger.open_windows("brand")) <= len(found.errors + found.notes)


def items_of(platform: Platform) -> list[Any]:
    """Return what all listings of the platform show."""
    now = datetime.now(UTC)
    platform.server.fault = None
    with tempfile.TemporaryDirectory() as folder:
        connector = feeds_in(folder, platform).connector("brand")
        found = [
            item
            for stream in connector.streams()
            for item in connector.fetch(Window(stream, now - timedelta(hours=2), now), None).items
        ]
        connector.http.close()
    return found


def as_answered(value: Any, calls: int = 30) -> Any:
    """Return a value as an answer would bring it; answers are read in more calls than items are taken."""
    if calls:
        return as_answered(value, calls - 1)
    try:
        return parse_json(as_json(value).decode())
    except (ValueError, RecursionError):
        return None


@examples(2)
@given(several=st.lists(st.tuples(st.integers(0, 99), VALUE_CHANGES), max_size=5), odd=VALUES)
def test_items_of_any_shape_are_taken_or_kept_aside(platform, several, odd):
    listed = items_of(platform)
    changed = [changed_value(listed[n % len(listed)], changes) for n, changes in several]
    everything = [*listed, *map(as_answered, [*changed, odd])]
    with tempfile.TemporaryDirectory() as folder:
        feeds = feeds_in(folder, platform)

        def collect() -> Collection:
            connector = feeds.connector("brand")
            # In one listing: two that disagree about a post are both believed, each time anew.
            first_stream = connector.streams()[0]
            connector.fetch = lambda window, _: Listing(
                everything if window.stream == first_stream else []
            )
            return pull(
                connector,
                feeds.landing,
                feeds.ledger,
                author_key=KEY,
                open_days=feeds.open_days,
            )

        with within(SECONDS):
            first = collect()
        assert_nothing_is_lost(feeds, first)
        kept = len(refused_rows(feeds))
        with within(SECONDS):
            assert collect().read_count == 0
            feeds.replay("brand")
        assert len(refused_rows(feeds)) == kept


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[list[Any], list[Any], bool]:
    """Changes to the values or to the bytes of an answer, and whether to those with tokens too."""
    values = draw(st.one_of(VALUE_CHANGES, VALUE_CHANGES, st.just([])))
    return values, [] if values else draw(BYTE_CHANGES), draw(st.integers(0, 5)) == 0


@examples(2)
@given(ways=st.lists(spoilt(), min_size=1, max_size=3))
def test_answers_of_any_shape_are_read_or_leave_a_gap(platform, ways):
    turn = 0

    def fault(_: Request, reply: Reply) -> Reply:
        nonlocal turn
        values, changes, spoils_tokens = ways[turn % len(ways)]
        if b"access_token" in reply.content and not spoils_tokens:
            return reply
        turn += 1
        try:
            document = json.loads(reply.content)
        except ValueError:
            return Reply(changed_bytes(reply.content, changes), reply.status, reply.headers)
        content = as_json(changed_value(document, values))
        return Reply(changed_bytes(content, changes), reply.status, reply.headers)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        feeds = feeds_in(folder, platform)
        platform.server.fault = fault
        with within(SECONDS):
            found = feeds.collect("brand")
        assert_nothing_is_lost(feeds, found)
        with within(SECONDS):
            feeds.collect("brand")
            feeds.replay("brand")
        platform.server.fault = None
        feeds.collect("brand")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("endpoint")
    config = {"start_date": "2026-01-01", "feeds": [BLOCK]}
    (folder / "feedback.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SURVEY_SECRET", SECRET)
        application = webhook_application(
            load_settings(Environment(data_platform_home=folder / "data"), folder)
        )
        yield application

        async def close() -> None:
            async with application.router.lifespan_context(application):
                pass

        asyncio.run(close())


@examples(40)
@given(
    count=st.integers(0, 3),
    values=st.one_of(st.just([]), VALUE_CHANGES),
    changes=st.one_of(st.just([]), st.just([]), BYTE_CHANGES),
)
def test_any_body_that_is_sent_is_stored_or_refused_for_good(endpoint, count, values, changes):
    records = [answer(n) for n in range(count)]
    body = changed_bytes(as_json(changed_value(records or answer(9), values)), changes)[:20_000]
    with within(SECONDS):
        status, told = post_to(endpoint, body)
    assert status in (200, 400), told
    if status == 200:
        document = json.loads(body)
        expected = len(document) if isinstance(document, list) else 1
        assert told["landed"] + told["quarantined"] == expected


DATES = st.one_of(
    st.sampled_from(ODD_TEXTS),
    st.text(st.sampled_from("0123456789-:.TZ +/,²٣apm\x00 "), max_size=30),
    st.datetimes().map(str),
    st.builds(
        lambda text, changes: changed_bytes(text.encode(), changes).decode("utf-8", "replace"),
        st.sampled_from(
            [
                *(
                    "2024-03-01T10:00:00.123456Z",
                    "Fri, 01 Mar 2024 10:00:00 GMT",
                    "01.03.2024 10:00",
                ),
                *(
                    "1709287200",
                    "1709287200000",
                    "Fri Mar 01 10:00:00 +0000 2024",
                    "3/1/24, 10:00 AM",
                ),
            ]
        ),
        BYTE_CHANGES,
    ),
)
DATE_FORMATS = (
    *(None, "epoch_seconds", "epoch_milliseconds", "%d.%m.%Y", "%m/%d/%y, %I:%M %p"),
    *("%a %b %d %H:%M:%S %z %Y", "%Y", "%j %Y", "%Z %d", "%y"),
)


@examples(30)
@given(
    dates=st.lists(DATES, min_size=1, max_size=6),
    posted_at_format=st.sampled_from(DATE_FORMATS),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/St_Johns"]),
)
def test_any_date_is_read_or_refused(dates, posted_at_format, timezone):
    dates = [
        text for text in dates if text.isascii() or text.encode("utf-8", "ignore").decode() == text
    ]
    records = [
        ({"at": text}, {"source_id": f"{n}", "posted_at": text, "edited_at": text, "body": "x"})
        for n, text in enumerate(dates)
    ]
    now = datetime.now(UTC)
    delivery = Delivery("d", "a.csv", now, OpenDays(date(2024, 1, 1), now.date()))
    feed = file_feed(timezone=timezone, posted_at_format=posted_at_format)
    with within(SECONDS), PostContract(feed, KEY) as contract:
        checked = contract.check(page_of(records), delivery)
        split_by_day(checked.posts, contract, delivery)
        assert format_advice(dates) is not None
        assert format_advice(dates[:1]) is not None
    assert len(checked.posts) + len(checked.refused) == len(records)


@examples(200)
@given(value=st.one_of(VALUES, DATES), header=DATES)
def test_any_moment_in_an_answer_is_one_or_none(value, header):
    now = datetime.now(UTC)
    assert utc(value) is None or utc(value).tzinfo is UTC
    assert iso(value) is not None or value is None
    headers = {"retry-after": header, "date": header, "x-ratelimit-remaining": header}
    moment = retry_moment(headers, now)
    assert moment is None or now <= moment <= now + timedelta(days=366 * 4)
    assert is_used_up(headers) in (True, False)
