"""Quarantine is a waiting room: what passes after a mend leaves it, once, also when its file is gone."""

import os
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime

import pytest

from data_platform.ingestion.collect import OpenDays
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.contract import PAYLOAD_CHARACTERS, POST_SCHEMA
from data_platform.ingestion.erasure import ErasureLedger
from data_platform.ingestion.replay import Replay, replay_quarantine
from data_platform.ingestion.selection import Found, Selection
from data_platform_tests.ingestion.conftest import file_feed
from data_platform_tests.ingestion.test_collect import KEY, OPEN, Place, assert_counts_agree

FIELDS = {"source_id": "id", "posted_at": "at", "body": "text", "rating": "stars"}
HEADER = "id,at,text,stars\n"
ROWS = "1,2024-03-01,fine,5\n2,2024-03-02,good,9\n3,2024-03-03,bad,0\n4,soon,x,1\n5,2024-03-05\n"
FIVE, TEN = {"fields": FIELDS, "rating_scale": [1, 5]}, {"fields": FIELDS, "rating_scale": [0, 10]}
OBSERVED_AT = datetime(2024, 3, 9, 12, tzinfo=UTC)


@pytest.fixture
def place(home):
    place = Place(home)
    path = place.write("a.csv", ROWS, HEADER)
    os.utime(path, (OBSERVED_AT.timestamp(), OBSERVED_AT.timestamp()))
    assert place.collect(**FIVE).refused_count == 4
    path.unlink()
    return place


def replay(place: Place, open_days: OpenDays = OPEN, **changes) -> Replay:
    connector = FileConnector(file_feed(**changes), place.home)
    return replay_quarantine(
        connector, place.landing, place.ledger, author_key=KEY, open_days=open_days
    )


def ids(place: Place) -> list[str]:
    return [source_id for _, source_id, _ in place.posts()]


def test_what_passes_after_a_mend_is_landed_and_leaves_quarantine(place):
    found = replay(place, **TEN)
    assert (found.examined_count, found.released_count, found.unreadable_count) == (3, 2, 1)
    assert found.landed_by_day == {date(2024, 3, 2): 1, date(2024, 3, 3): 1}
    assert ids(place) == ["1", "2", "3"]
    assert {row["row_number"] for row in place.refused()} == {4, 5}
    known = place.ledger.feed("shop")
    assert (known.read_count, known.refused_count) == (5, 2)
    assert_counts_agree(place)


def test_a_second_replay_and_one_without_a_mend_do_nothing(place):
    before = place.segments()
    assert replay(place, **FIVE).released_count == 0
    assert place.segments() == before
    replay(place, **TEN)
    before = place.segments()
    assert replay(place, **TEN).released_count == 0
    assert place.segments() == before


def test_a_released_record_was_observed_when_its_file_was(place):
    """Else it would win against a newer version of its post that came in meanwhile."""
    replay(place, **TEN)
    found = place.landing.segments(["shop"], date(2024, 3, 2))
    (batch,) = place.landing.read(found, POST_SCHEMA)
    assert batch.to_pylist()[0]["observed_at"] == OBSERVED_AT


def test_a_released_post_of_a_closed_day_waits_for_it(place):
    closed = OpenDays(date(2024, 3, 3), date(2024, 12, 31))
    assert replay(place, closed, **TEN).released_count == 2
    waiting = [row for row in place.refused() if row["payload"] is None]
    assert [(row["source_id"], row["posted_date"]) for row in waiting] == [("2", date(2024, 3, 2))]


def test_a_file_that_is_read_again_after_a_replay_counts_once(place):
    replay(place, **TEN)
    place.write("a.csv", ROWS, HEADER)
    place.collect(**TEN)
    assert ids(place) == ["1", "2", "3"]
    assert place.ledger.feed("shop").read_count == 5
    assert_counts_agree(place)


def test_a_record_that_is_to_be_erased_is_not_released(place):
    """A request whose run was killed is completed later; a replay may come in between."""
    (asked,) = [row for row in place.refused() if row["source_id"] == "2"]
    ledger = ErasureLedger(place.ledger.path)
    found = Found(quarantine_ids={asked["quarantine_id"]})
    ledger.request(Selection(feed="shop"), found, ledger.suppression(KEY), datetime.now(UTC))
    assert replay(place, **TEN).released_count == 1
    assert ids(place) == ["1", "3"]
    assert asked["quarantine_id"] in {row["quarantine_id"] for row in place.refused()}
    assert_counts_agree(place)


def test_a_record_that_was_cut_stays_where_it_is(home):
    place = Place(home)
    place.write("a.csv", f"1,soon,{'x' * PAYLOAD_CHARACTERS}\n2,soon,y\n")
    place.collect()
    found = replay(place)
    assert (found.examined_count, found.unreadable_count) == (1, 1)
    assert len(place.refused()) == 2


def test_records_of_json_are_replayed_by_their_paths(home):
    place = Place(home)
    (place.incoming / "a.ndjson").write_text(
        '{"id": 12345678901234567890, "at": 1711368000, "t": {"x": "hi"}}\n'
    )
    fields = {"source_id": "id", "posted_at": "at", "body": "t.x"}
    assert place.collect(fields=fields).refused_count == 1
    (place.incoming / "a.ndjson").unlink()
    assert replay(place, fields=fields, posted_at_format="epoch_seconds").released_count == 1
    assert place.posts() == [("2024-03-25", "12345678901234567890", "hi")]


KILLED_REPLAY = """
    import os, signal, sys
    from pathlib import Path
    from data_platform.ingestion.ledger import Ledger
    from data_platform.storage.landing import LandingZone
    from data_platform_tests.ingestion.test_collect import KEY, OPEN
    from data_platform_tests.ingestion.test_replay import TEN, FileConnector, file_feed, replay_quarantine

    home, point = Path(sys.argv[1]), sys.argv[2]

    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    class KilledLedger(Ledger):
        def release(self, *told):
            if point == "before the ledger":
                killed()
            super().release(*told)
            if point == "after the ledger":
                killed()

        def finish_removals(self, feed):
            if point == "after the removal":
                killed()
            super().finish_removals(feed)

    replay_quarantine(
        FileConnector(file_feed(**TEN), home), LandingZone(home / "landing"),
        KilledLedger(home / "landing" / "ledger.sqlite"), author_key=KEY, open_days=OPEN,
    )
"""


@pytest.mark.parametrize("point", ["before the ledger", "after the ledger", "after the removal"])
@pytest.mark.parametrize("next_step", ["replay", "collect"])
def test_a_replay_that_is_killed_ends_in_the_same_rows_after_the_next_step(place, point, next_step):
    script = textwrap.dedent(KILLED_REPLAY)
    ended = subprocess.run(
        [sys.executable, "-c", script, str(place.home), point], timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    if next_step == "collect":
        place.collect(**TEN)
        assert_counts_agree(place)
    replay(place, **TEN)
    assert ids(place) == ["1", "2", "3"]
    assert {row["row_number"] for row in place.refused()} == {4, 5}
    assert place.ledger.feed("shop").refused_count == 2
    assert_counts_agree(place)
