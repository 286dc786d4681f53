"""The ledger and the segments of a backup belong together, however fast segments come and go."""

import shutil
import threading
import time
from datetime import UTC, datetime

import pytest

from data_platform.automation.backup import (
    _kept_segments,
    _links,
    _named_segments,
    copy_database,
)
from data_platform.ingestion.ledger import Delivered, Ledger
from data_platform.settings import Environment, load_settings
from data_platform.storage.landing import LandingZone, Segment

COPIES = 10
STANDING = 1000


class Deliveries:
    """Reads one delivery again and again: each reading takes the place of the one before."""

    def __init__(self, settings):
        self.landing = LandingZone(settings.landing_path)
        self.ledger = Ledger(settings.landing_path / "ledger.sqlite")

    def deliver(self, number, content, count=1):
        day = f"shop/2026-03-{number % 28 + 1:02}"
        (self.landing.root / day).mkdir(parents=True, exist_ok=True)
        paths = [
            f"{day}/20260401T000000000000Z-{content}{number}-{n}.parquet" for n in range(count)
        ]
        for path in paths:
            (self.landing.root / path).write_bytes(b"posts")
        segments = [Segment(path, 1) for path in paths]
        now = datetime.now(UTC)
        delivered = Delivered(
            f"{content}{number}", "shop", content, "r", "a.csv", 1, 0, segments, now
        )
        self.landing.remove(self.ledger.record(delivered))


@pytest.fixture
def settings(home):
    return load_settings(Environment(data_platform_home=home / "data"), home)


def test_what_the_copied_ledger_names_is_kept_while_segments_are_replaced(settings, tmp_path):
    deliveries = Deliveries(settings)
    deliveries.deliver(0, "standing", STANDING)
    ended = threading.Event()

    def deliver():
        number = 0
        while not ended.is_set():
            deliveries.deliver(number := number + 1, "again")
            time.sleep(0.05)

    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        for _ in range(COPIES):
            copy = tmp_path / "ledger.sqlite"
            with _kept_segments(settings, copy) as folder:
                named = _named_segments(copy)
                assert len(named) >= STANDING
                assert [name for name in named if not (folder / name).is_file()] == []
    finally:
        ended.set()
        thread.join()
    assert not _links(settings).exists()


def test_what_lands_after_the_ledger_was_copied_is_left_out(settings, tmp_path, monkeypatch):
    """A restored platform would hold records of which its ledger knows nothing: they never add up."""
    deliveries = Deliveries(settings)
    deliveries.deliver(1, "a")
    unknown = deliveries.landing.root / "shop/2026-03-02/20260401T000000000000Z-x.parquet"
    shutil.copy(next(unknown.parent.glob("*.parquet")), unknown)

    def copy_and_land(source, target):
        copy_database(source, target)
        deliveries.deliver(2, "b")

    monkeypatch.setattr("data_platform.automation.backup.copy_database", copy_and_land)
    copy = tmp_path / "ledger.sqlite"
    with _kept_segments(settings, copy) as folder:
        kept = {str(path.relative_to(folder)) for path in folder.rglob("*.parquet")}
    lost = str(unknown.relative_to(deliveries.landing.root))
    assert kept == {"shop/2026-03-02/20260401T000000000000Z-a1-0.parquet", lost}


def test_a_segment_that_somebody_has_lost_does_not_keep_a_backup_from_ending(settings, tmp_path):
    deliveries = Deliveries(settings)
    deliveries.deliver(1, "a", 3)
    lost = next(deliveries.landing.root.glob("shop/*/*.parquet"))
    lost.unlink()
    with _kept_segments(settings, tmp_path / "ledger.sqlite") as folder:
        assert len(list(folder.rglob("*.parquet"))) == 2
