"""Collecting files: each content once, whole or not at all, through renames, new mappings and kills."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_platform.errors import PermanentSourceError
from data_platform.ingestion.collect import Collection, OpenDays, collect_files
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.contract import DAY_NOT_OPEN, POST_SCHEMA, REFUSED_SCHEMA
from data_platform.ingestion.ledger import Ledger
from data_platform.storage.landing import QUARANTINE, LandingZone
from data_platform_tests.ingestion.conftest import file_feed

KEY = b"k" * 32
OPEN = OpenDays(date(2024, 1, 1), date(2024, 12, 31))
DAY = date(2024, 3, 1)
ROWS = "1,2024-03-01T10:00:00Z,fine\n2,2024-03-02T10:00:00Z,bad\n"


class Place:
    """A folder of incoming files, and what was collected from it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.incoming = home / "incoming"
        self.incoming.mkdir()
        self.landing = LandingZone(home / "landing")
        self.ledger = Ledger(home / "landing" / "ledger.sqlite")

    def write(self, name: str, rows: str = ROWS, header: str = "id,at,text\n") -> Path:
        path = self.incoming / name
        path.write_text(header + rows)
        return path

    def collect(self, open_days: OpenDays = OPEN, **changes: Any) -> Collection:
        connector = FileConnector(file_feed(**changes), self.home)
        return collect_files(
            connector, self.landing, self.ledger, author_key=KEY, open_days=open_days
        )

    def segments(self) -> list[str]:
        shop = self.landing.root / "shop"
        return sorted(str(p.relative_to(self.landing.root)) for p in shop.rglob("*.parquet"))

    def posts(self) -> list[tuple[str, str, str]]:
        """All landed posts as (folder, source_id, body), sorted."""
        days = self.landing.days("shop")
        found = [s for day in days for s in self.landing.segments(["shop"], day)]
        table = pa.Table.from_batches(
            self.landing.read(found, POST_SCHEMA),
            schema=None if found else POST_SCHEMA.append(pa.field("segment", pa.string())),
        )
        rows = table.select(["segment", "source_id", "body"]).to_pylist()
        return sorted((r["segment"].split("/")[1], r["source_id"], r["body"]) for r in rows)

    def refused(self) -> list[dict[str, Any]]:
        found = self.landing.segments(["shop"], None)
        return [
            row for batch in self.landing.read(found, REFUSED_SCHEMA) for row in batch.to_pylist()
        ]


@pytest.fixture
def place(home):
    return Place(home)


TWO_POSTS = [("2024-03-01", "1", "fine"), ("2024-03-02", "2", "bad")]


def test_a_file_is_landed_on_all_of_its_days_in_one_pass(place):
    place.write("a.csv")
    found = place.collect()
    assert (found.delivery_count, found.read_count, found.refused_count) == (1, 2, 0)
    assert found.landed_by_day == {DAY: 1, DAY + timedelta(days=1): 1}
    assert found.errors == []
    assert place.posts() == TWO_POSTS
    known = place.ledger.feed("shop")
    assert (known.delivery_count, known.read_count, known.error) == (1, 2, None)
    assert known.finished_at is not None


def test_a_second_collection_of_the_same_files_does_nothing(place):
    place.write("a.csv")
    place.collect()
    before = place.segments()
    assert place.collect() == Collection()
    assert place.segments() == before


def test_renamed_touched_copied_and_rewritten_files_add_nothing(place):
    path = place.write("a.csv")
    place.collect()
    before = place.segments()
    path = path.rename(place.incoming / "b.csv")
    os.utime(path, (1_800_000_000, 1_800_000_000))
    (place.incoming / "copy.csv").write_bytes(path.read_bytes())
    assert place.collect() == Collection()
    path.write_bytes(path.read_bytes())
    assert place.collect() == Collection()
    assert place.segments() == before
    assert place.ledger.feed("shop").read_count == 2


def test_a_file_that_grew_is_a_new_delivery(place):
    path = place.write("a.csv")
    place.collect()
    path.write_text(path.read_text() + "3,2024-03-01,more\n")
    assert place.collect().read_count == 3
    assert Counter(place.posts())[TWO_POSTS[0]] == 2


def test_the_time_of_observation_is_the_files_own(place):
    path = place.write("a.csv")
    os.utime(path, ns=(0, 1_709_294_400_123_456_000))
    place.collect()
    (segment, *_) = place.landing.segments(["shop"], DAY)
    (batch,) = place.landing.read([segment], POST_SCHEMA)
    assert batch["observed_at"][0].as_py() == datetime(2024, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def test_a_changed_mapping_reads_again_and_replaces_the_old_reading(place):
    place.write("a.csv", "1,2024-03-01T23:30:00,fine\n")
    place.collect()
    assert place.posts() == [("2024-03-01", "1", "fine")]
    for zone, day in (("America/New_York", "2024-03-02"), ("UTC", "2024-03-01")):
        assert place.collect(timezone=zone).delivery_count == 1
        assert place.posts() == [(day, "1", "fine")]
        assert place.ledger.feed("shop").read_count == 1


@pytest.mark.parametrize("change", [{"every": "9m"}, {"path": "incoming/*.csv"}])
def test_a_change_that_reads_nothing_differently_reads_nothing_again(place, change):
    place.write("a.csv")
    place.collect()
    assert place.collect(**change) == Collection()


def test_a_replaced_reading_that_a_killed_run_left_behind_is_removed_later(place):
    path = place.write("a.csv", "1,2024-03-01T23:30:00,fine\n")
    place.collect()
    (old,) = place.segments()
    content = (place.landing.root / old).read_bytes()
    place.collect(timezone="America/New_York")
    (place.landing.root / old).parent.mkdir(exist_ok=True)
    (place.landing.root / old).write_bytes(content)
    path.unlink()
    place.collect(timezone="America/New_York")
    assert place.posts() == [("2024-03-02", "1", "fine")]


def test_a_file_of_mostly_bad_records_is_refused_as_a_whole(place):
    good = "".join(f"{n},2024-03-01,x\n" for n in range(2))
    place.write("bad.csv", good + "".join(f"{n},soon,x\n" for n in range(20)))
    place.write("good.csv")
    found = place.collect()
    (message,) = found.errors
    assert "bad.csv: 20 of 22 records break the post contract" in message
    assert "posted_at cannot be read as a date and time (20)" in message
    assert place.posts() == TWO_POSTS
    assert place.refused() == []
    assert found.read_count == 2
    assert place.ledger.feed("shop").error == message
    assert list((place.landing.root / ".staging").iterdir()) == []


def test_a_refused_file_says_which_format_its_dates_have(place):
    place.write("a.csv", "".join(f"{n},25/03/2024 10:{n},x\n" for n in range(10, 30)))
    (message,) = place.collect().errors
    assert "They look like posted_at_format: '%d/%m/%Y %H:%M'." in message
    assert place.collect(posted_at_format="%d/%m/%Y %H:%M").read_count == 20


def test_a_file_whose_days_and_months_are_exchanged_is_refused_before_any_is_misread(place):
    dates = ["03/04/2024"] * 50 + ["03/25/2024"] * 5
    place.write("a.csv", "".join(f"{n},{at},x\n" for n, at in enumerate(dates)))
    (message,) = place.collect(posted_at_format="%d/%m/%Y").errors
    assert "5 of 55 dates can be read only with day and month exchanged" in message
    assert place.segments() == []
    assert place.collect(posted_at_format="%m/%d/%Y").read_count == 55


def test_destroyed_ids_are_refused_with_the_numbers_until_they_are_trusted(place):
    place.write("a.csv", "".join(f"5.70306E+17,2024-03-01T10:{n},x\n" for n in range(10, 15)))
    place.write("good.csv")
    found = place.collect()
    (message,) = found.errors
    assert "a.csv: 5 of 5 ids are in scientific notation" in message
    assert found.new_errors == [message]
    assert place.posts() == TWO_POSTS
    again = place.collect()
    assert (again.errors, again.new_errors) == ([message], [])
    place.collect(trust_ids=True)
    assert place.posts() == sorted([*TWO_POSTS, *[("2024-03-01", "5.70306E+17", "x")] * 5])


def test_a_deletion_without_a_date_lands_on_the_day_of_its_file_within_the_open_days(place):
    fields = {"source_id": "id", "change": "at"}
    for name, year in (("old.csv", 2019), ("now.csv", 2024)):
        path = place.write(name, f"{year},delete,\n")
        moment = datetime(year, 3, 1, 12, tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))
    assert place.collect(fields=fields).refused_count == 0
    assert place.posts() == [("2024-01-01", "2019", None), ("2024-03-01", "2024", None)]


def test_a_small_file_of_bad_records_goes_to_quarantine(place):
    place.write("bad.csv", "1,soon,x\n2,2024-03-01,\n,2024-03-01,x\n4,2024-03-01\n")
    found = place.collect()
    assert (found.read_count, found.refused_count, found.errors) == (4, 4, [])
    assert {(r["row_number"], r["reason"]) for r in place.refused()} == {
        (1, "posted_at cannot be read as a date and time"),
        (2, "body is empty"),
        (3, "source_id is missing"),
        (4, "2 columns instead of 3"),
    }


@pytest.mark.parametrize("header", ["id,at,texts\n", "id,id,at,text\n", "PAR1"])
def test_good_files_land_beside_one_that_cannot_be_read(place, header):
    place.write("a.csv", header=header)
    place.write("b.csv", "7,2024-03-01,fine\n")
    found = place.collect()
    assert len(found.errors) == 1
    assert "a.csv" in found.errors[0]
    assert place.posts() == [("2024-03-01", "7", "fine")]
    place.write("a.csv")
    assert place.collect().errors == []
    assert place.ledger.feed("shop").error is None
    assert len(place.posts()) == 3


def test_a_missing_folder_is_an_error_that_the_ledger_keeps(place):
    with pytest.raises(PermanentSourceError, match="does not exist"):
        place.collect(path="nowhere")
    assert "does not exist" in (place.ledger.feed("shop").error or "")


def test_posts_of_closed_days_wait_in_quarantine_and_stand_in_their_own_folder(place):
    place.write("a.csv", "1,2023-12-31,old\n2,2024-03-01,now\n3,2025-01-01,early\n4,soon,x\n")
    found = place.collect()
    assert (found.read_count, found.refused_count) == (4, 1)
    waiting = [row for row in place.refused() if row["reason"] == DAY_NOT_OPEN]
    assert [(row["source_id"], str(row["posted_date"]), row["payload"]) for row in waiting] == [
        ("1", "2023-12-31", None),
        ("3", "2025-01-01", None),
    ]
    assert [folder for folder, *_ in place.posts()] == ["2023-12-31", "2024-03-01", "2025-01-01"]
    assert sum(found.landed_by_day.values()) + found.refused_count == found.read_count


def test_a_deletion_of_a_day_that_is_not_open_lands_where_it_is_loaded(place):
    path = place.write("a.csv", "1,1970-01-01,,true\n2,2031-01-01,,true\n", "id,at,text,gone\n")
    os.utime(path, (datetime(2024, 5, 1, tzinfo=UTC).timestamp(),) * 2)
    fields = {"source_id": "id", "posted_at": "at", "body": "text", "is_deleted": "gone"}
    found = place.collect(fields=fields)
    assert found.landed_by_day == {date(2024, 5, 1): 2}
    assert place.refused() == []


def test_a_history_of_many_years_lands_in_one_pass(place):
    first = date(2010, 1, 1)
    rows = [f"{n},{first + timedelta(days=n)},x\n" for n in range(1_200)]
    place.write("a.csv", "".join(rows))
    found = place.collect(OpenDays(first, date(2024, 1, 1)))
    assert found.read_count == sum(found.landed_by_day.values()) == 1_200
    assert place.refused() == []


def test_the_handle_of_an_author_is_nowhere_in_the_landing_zone(place):
    place.write("a.csv", "1,2024-03-01,fine,@secret_ann\n", header="id,at,text,who\n")
    fields = {"source_id": "id", "posted_at": "at", "body": "text", "author_handle": "who"}
    place.collect(fields=fields)
    for path in place.landing.root.rglob("*"):
        assert not path.is_file() or b"secret_ann" not in path.read_bytes()


def test_a_file_that_was_just_written_is_waited_for(place):
    place.write("a.csv")
    started = time.monotonic()
    assert place.collect(settle="1s").read_count == 2
    assert time.monotonic() - started >= 1


def test_a_file_that_somebody_goes_on_writing_is_left_for_the_next_collection(place):
    place.write("done.csv", "9,2024-03-01,fine\n")
    script = (
        "import sys, time\n"
        "with open(sys.argv[1], 'w') as stream:\n"
        "    for n in range(60):\n"
        "        stream.write(f'{n},x\\n'); stream.flush(); time.sleep(0.1)\n"
    )
    path = place.incoming / "growing.csv"
    with subprocess.Popen([sys.executable, "-c", script, str(path)]) as writer:
        while not path.exists():
            time.sleep(0.05)
        found = place.collect(settle="1s")
        assert writer.poll() is None
        writer.kill()
    assert (found.delivery_count, found.unsettled_count, found.errors) == (1, 1, [])
    assert place.posts() == [("2024-03-01", "9", "fine")]


def test_a_file_that_changes_while_it_is_read_is_not_landed(place, monkeypatch):
    """An exporter that overwrites its file in place, slower than `settle`."""
    path = place.write("a.csv")
    read = FileConnector.read

    def disturbed(connector, file):
        yield from read(connector, file)
        path.write_text(path.read_text() + "3,2024-03-01,more\n")

    monkeypatch.setattr(FileConnector, "read", disturbed)
    (message,) = place.collect().errors
    assert "changed while it was read" in message
    assert place.segments() == []
    (gap,) = place.ledger.gaps("shop").values()
    assert gap.is_transient
    monkeypatch.setattr(FileConnector, "read", read)
    assert place.collect().read_count == 3
    assert place.ledger.gaps("shop") == {}


KILLED_RUN = """
    import os, signal, sys
    from datetime import date
    from pathlib import Path
    from data_platform.ingestion.collect import OpenDays, collect_files
    from data_platform.ingestion.connectors.file import FileConnector
    from data_platform.ingestion.ledger import Ledger
    from data_platform.storage import landing as landing_module
    from data_platform.storage.landing import LandingZone
    from data_platform_tests.ingestion.conftest import file_feed

    home, point, zone = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    def killed(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    class KilledLedger(Ledger):
        def record(self, delivered):
            if point == "before the ledger":
                killed()
            replaced = super().record(delivered)
            if point == "after the ledger":
                killed()
            return replaced

        def see_file(self, *told):
            if point == "before the file is known":
                killed()
            super().see_file(*told)

    class KilledLanding(LandingZone):
        def remove(self, segments):
            paths = list(segments)
            if paths and point == "before the old reading goes":
                killed()
            super().remove(paths)

    if point == "between two segments":
        renamed = []
        sync = landing_module.sync_folder
        landing_module.sync_folder = lambda folder: killed() if renamed else renamed.append(sync(folder))
    collect_files(
        FileConnector(file_feed(timezone=zone), home), KilledLanding(home / "landing"),
        KilledLedger(home / "landing" / "ledger.sqlite"),
        author_key=b"k" * 32, open_days=OpenDays(date(2024, 1, 1), date(2024, 12, 31)),
    )
"""


def run_killed(place: Place, point: str, zone: str = "UTC") -> None:
    """Collect in a process that kills itself with SIGKILL at `point`."""
    script = textwrap.dedent(KILLED_RUN)
    ended = subprocess.run(
        [sys.executable, "-c", script, str(place.home), point, zone], timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL


def assert_counts_agree(place: Place) -> None:
    """What the ledger counted is what stands in the landing zone."""
    known = place.ledger.feed("shop")
    waiting = sum(row["reason"] == DAY_NOT_OPEN for row in place.refused())
    assert len(place.posts()) + len(place.refused()) - waiting == known.read_count


POINTS = [
    "between two segments",
    "before the ledger",
    "after the ledger",
    "before the file is known",
]
THREE_RECORDS = ROWS + "3,soon,x\n"


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed_and_run_again_lands_the_same_rows(place, point):
    place.write("a.csv", THREE_RECORDS)
    run_killed(place, point)
    place.collect()
    assert place.posts() == TWO_POSTS
    assert len(place.refused()) == 1
    assert place.ledger.feed("shop").read_count == 3
    assert place.collect() == Collection()


@pytest.mark.parametrize("point", POINTS[:2])
def test_a_killed_run_leaves_no_second_copy_when_the_file_was_touched_since(place, point):
    """The other modification time makes other segments; the first ones are known to nobody."""
    path = place.write("a.csv", THREE_RECORDS)
    run_killed(place, point)
    os.utime(path, (1_800_000_000, 1_800_000_000))
    place.collect()
    assert place.posts() == TWO_POSTS
    assert_counts_agree(place)


@pytest.mark.parametrize("point", POINTS[:2])
def test_a_killed_run_leaves_no_misreading_when_the_mapping_was_mended_since(place, point):
    place.write("a.csv", "1,2024-03-01T23:30:00,fine\n2,2024-03-05T12:00:00,bad\n")
    run_killed(place, point)
    place.collect(timezone="America/New_York")
    assert place.posts() == [("2024-03-02", "1", "fine"), ("2024-03-05", "2", "bad")]
    assert_counts_agree(place)


@pytest.mark.parametrize("point", POINTS[:2])
def test_a_killed_run_leaves_nothing_of_a_file_that_grew_or_went_since(place, point):
    """What it published is known to nobody, and is no part of what the file says now."""
    path = place.write("a.csv", "1,2024-03-01T23:30:00,fine\n2,2024-03-05T12:00:00,bad\n")
    run_killed(place, point)
    path.unlink()
    place.write("b.csv", "1,2024-03-01T23:30:00,fine\n3,2024-03-05T12:00:00,new\n")
    place.collect()
    assert [source_id for _, source_id, _ in place.posts()] == ["1", "3"]
    assert_counts_agree(place)


@pytest.mark.parametrize("point", ["before the ledger", "before the old reading goes"])
def test_a_killed_second_reading_replaces_the_first_when_run_again(place, point):
    place.write("a.csv", "1,2024-03-01T23:30:00,fine\n")
    place.collect()
    run_killed(place, point, zone="America/New_York")
    place.collect(timezone="America/New_York")
    assert place.posts() == [("2024-03-02", "1", "fine")]
    assert_counts_agree(place)


def test_a_killed_run_over_many_days_is_made_whole_without_copies(place):
    """Beyond 64 open files Arrow splits days as it likes: the second run makes other segments."""
    first = date(2024, 1, 1)
    rows = [f"{n},{first + timedelta(days=n % 80)},{'x' * 500}\n" for n in range(33_000)]
    place.write("a.csv", "".join(rows))
    run_killed(place, "before the ledger")
    place.collect()
    assert len(place.posts()) == 33_000
    assert_counts_agree(place)


def test_the_quarantine_of_a_feed_is_no_day(place):
    place.write("a.csv", "1,soon,x\n2,2024-03-01,x\n")
    place.collect()
    assert place.landing.days("shop") == [DAY]
    assert len([path for path in place.segments() if QUARANTINE in path]) == 1
