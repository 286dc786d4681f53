"""Small segments that become one: nothing that the warehouse says of them changes, whatever interrupts it."""

from datetime import UTC, datetime

import pytest

from data_platform.ingestion.erasure import ErasureLedger, apply_suppression
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.intake import Intake
from data_platform.ingestion.segment_compaction import FEWEST_SEGMENTS, compact_segments
from data_platform.ingestion.selection import Selection, find
from data_platform.monitoring.health import measure_sources
from data_platform.schemas import RAW_FEEDBACK
from data_platform.storage.landing import LandingZone
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.ingestion.platforms.stored import landed_rows, load
from data_platform_tests.ingestion.test_intake import BLOCK, SECRET, answer

COUNT = FEWEST_SEGMENTS + 4


@pytest.fixture
def feeds(configured, monkeypatch):
    monkeypatch.setenv("SURVEY_SECRET", SECRET)
    return Feeds(configured({"start_date": "2026-01-01", "feeds": [BLOCK]}))


@pytest.fixture
def filled(feeds):
    """Posts of one day, one for each segment, of which one is edited, one deleted and one refused."""
    intake = Intake(feeds, "survey")
    for number in range(COUNT):
        send(intake, answer(number, f"text {number}"))
    send(intake, answer(1, "edited"), answer(2, gone=True), {"id": 9, "at": "never"})
    intake.close()
    return feeds


def send(intake, *records):
    intake.submit(list(records)).result()


def segments(feeds):
    (day,) = feeds.landing.days("survey")
    return feeds.landing.segments(["survey"], day)


def state(feeds, home):
    """What the warehouse says, with the time at which each row was collected."""
    warehouse = load(feeds, home)
    health = measure_sources(warehouse, feeds, DAY)
    with warehouse.transaction() as transaction:
        rows = transaction.connection.execute(
            "SELECT feedback_id, body, is_deleted, collected_at FROM raw_feedback ORDER BY ALL"
        ).fetchall()
        return transaction.digest(RAW_FEEDBACK), health.digest, rows


DAY = datetime.now(UTC) - datetime.now(UTC).replace(hour=0)


def test_many_segments_become_one_and_nothing_else_changes(filled, home):
    before, landed = state(filled, home), landed_rows(filled)
    warehouse = Warehouse(home / "warehouse.duckdb")
    assert compact_segments(filled, warehouse) == COUNT
    (compacted,) = segments(filled)
    assert filled.landing.row_count(compacted) == landed == COUNT + 2
    with warehouse.transaction() as transaction:
        for table in ("raw_feedback", "loaded_segments"):
            found = transaction.connection.execute(f"SELECT DISTINCT segment FROM {table}")
            assert found.fetchall() == [(compacted.path,)]
    assert state(filled, home) == before
    assert compact_segments(filled, warehouse) == 0


def test_what_a_kill_left_beside_a_segment_goes_with_it(filled, home):
    path = filled.landing.root / segments(filled)[0].path
    path.with_name(f".{path.name}.4194999").write_bytes(path.read_bytes())
    compact_segments(filled, load(filled, home))
    assert not list(path.parent.glob(".*"))


def test_a_warehouse_is_the_same_when_it_is_made_anew_from_compacted_segments(filled, home):
    before = state(filled, home)
    compact_segments(filled, Warehouse(home / "warehouse.duckdb"))
    (home / "warehouse.duckdb").unlink()
    digest, _, rows = state(filled, home)
    assert (digest, rows) == (before[0], before[2])


def test_what_is_not_loaded_and_what_is_few_is_left(feeds, home):
    intake = Intake(feeds, "survey")
    for number in range(FEWEST_SEGMENTS - 1):
        send(intake, answer(number))
    state(feeds, home)
    send(intake, answer(99))
    intake.close()
    assert compact_segments(feeds, Warehouse(home / "warehouse.duckdb")) == 0
    assert len(segments(feeds)) == FEWEST_SEGMENTS


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


def kill(*_, **__):
    raise Killed


@pytest.mark.parametrize("is_loaded_between", [False, True])
@pytest.mark.parametrize("place", ["ledger", "warehouse", "removal"])
def test_a_kill_leaves_every_record_counted_once(
    filled, home, monkeypatch, place, is_loaded_between
):
    before = state(filled, home)
    warehouse = Warehouse(home / "warehouse.duckdb")
    with monkeypatch.context() as broken:
        if place == "ledger":
            broken.setattr(type(filled.ledger), "replace_segments", kill)
        elif place == "warehouse":
            broken.setattr("data_platform.ingestion.segment_compaction._rename", kill)
        else:
            broken.setattr(LandingZone, "remove", kill)
        with pytest.raises(Killed):
            compact_segments(filled, warehouse)
    assert len(segments(filled)) == COUNT + 2
    if is_loaded_between:
        load(filled, home)
    filled.collect("survey")
    assert state(filled, home) == before
    compact_segments(filled, warehouse)
    assert len(segments(filled)) == 1
    assert state(filled, home) == before


def test_erasure_reaches_a_compacted_segment_and_names_what_brought_it(filled, home):
    state(filled, home)
    compact_segments(filled, Warehouse(home / "warehouse.duckdb"))
    found = find(filled, Selection(posts=("7",)))
    assert (found.post_count, found.files) == (1, {"webhook"})
    ledger = ErasureLedger(filled.ledger.path)
    suppression = ledger.suppression(filled.author_key())
    ledger.request(Selection(posts=("7",)), found, suppression, datetime.now(UTC))
    assert apply_suppression(filled, ledger) == 1
    (compacted,) = segments(filled)
    assert b"text 7" not in (filled.landing.root / compacted.path).read_bytes()
    assert filled.landing.row_count(compacted) == COUNT + 2


def test_a_refresh_meanwhile_counts_no_record_twice(filled, home, monkeypatch):
    before = state(filled, home)
    replace = type(filled.ledger).replace_segments

    def replace_and_refresh(ledger, *told):
        replace(ledger, *told)
        load(filled, home)

    monkeypatch.setattr(type(filled.ledger), "replace_segments", replace_and_refresh)
    assert compact_segments(filled, Warehouse(home / "warehouse.duckdb")) == COUNT
    assert state(filled, home) == before
