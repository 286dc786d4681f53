"""Erasing and purging to the last byte, also of what killed commands left, and of what comes out of turn."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import time_machine

from data_platform.automation.erasing import Eraser
from data_platform.ingestion.erasure import ErasureLedger
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.intake import Intake
from data_platform.ingestion.selection import Selection, find
from data_platform_tests.ingestion.platforms.stored import load
from data_platform_tests.ingestion.test_intake import BLOCK, DAY, SECRET, answer
from data_platform_tests.pipeline.test_erasure import holders

TEXT = "Zephyrine Quillfeather"
# Processes that kill themselves: amid a landing, a backup, a restore, the writing anew of a segment.
KILLED = f"""
import os, pathlib, signal
import pyarrow.parquet as pq
from data_platform.automation import backup, restore
from data_platform.ingestion.erasure import replace_segment
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.intake import Intake
from data_platform.ingestion.windows import WindowLedger
from data_platform.settings import load_settings

settings = load_settings()
feeds = Feeds(settings)

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def land():
    WindowLedger.begin_pull = kill
    Intake(feeds, "survey").submit([{answer(9, TEXT)!r}]).result()

def back_up():
    link = backup._link_segments
    backup._link_segments = lambda *given: (link(*given), kill())
    backup.write_backup(settings)

def write_anew():
    pathlib.Path.chmod = kill
    (segment,) = feeds.landing.segments(["survey"], feeds.landing.days("survey")[0])
    replace_segment(feeds.landing, segment, pq.read_table(feeds.landing.root / segment.path))

def put_back():
    restore._compare = kill
    made = backup.write_backup(settings, settings.base)
    restore.restore_backup(settings, made.path, replace=True)

for step in (land, put_back, back_up, write_anew):
    if not os.fork():
        step()
        os._exit(1)
    assert os.wait()[1] == signal.SIGKILL
"""


@pytest.fixture
def feeds(configured, monkeypatch):
    monkeypatch.setenv("SURVEY_SECRET", SECRET)
    return Feeds(configured({"start_date": "2026-01-01", "feeds": [BLOCK]}))


def send(feeds, *records):
    intake = Intake(feeds, "survey")
    intake.submit(list(records)).result()
    intake.close()


def eraser_of(feeds):
    settings = feeds.settings
    warehouse = load(feeds, settings.home)
    return Eraser(feeds, warehouse, settings.snapshot_path, lambda: None)


def erase(feeds, **selected):
    ledger = ErasureLedger(feeds.ledger.path)
    selection = Selection(**selected)
    found = find(feeds, selection)
    suppression = ledger.suppression(feeds.author_key())
    ledger.request(selection, found, suppression, datetime.now(UTC))
    eraser = eraser_of(feeds)
    eraser.remove()
    assert eraser.finish()


def holding(home, text=TEXT):
    return holders(SimpleNamespace(folder=home), text)


def test_what_killed_commands_left_is_erased_too(feeds, home):
    data = feeds.settings.home
    send(feeds, answer(9, TEXT), answer(1))
    load(feeds, data)
    environment = {
        **os.environ,
        "DATA_PLATFORM_HOME": str(data),
        "DATA_PLATFORM_CONFIG": str(feeds.settings.config_path),
    }
    subprocess.run([sys.executable, "-c", KILLED], env=environment, check=True)
    # A draft whose segment went: others took its place.
    (segment,) = feeds.landing.root.glob("survey/*/*.parquet")
    segment.rename(segment.with_name(f"20260101T000000000000Z{segment.name[22:]}"))
    left = holding(home)
    for place in ("backups/.2", "staging/survey-", ".backup/survey/", f"{DAY}/.2", ".restoring/"):
        assert any(place in name for name in left), place
    erase(feeds, posts=["9"])
    assert holding(home) == []
    assert not list(feeds.landing.root.glob("*/*/.*"))
    assert not list((feeds.landing.root / ".staging").iterdir())


def texts(feeds):
    paths = feeds.landing.root.glob("survey/*/*.parquet")
    return {text for path in paths for text in pq.read_table(path)["body"].to_pylist() if text}


def test_a_deletion_that_was_landed_before_a_purge_and_loaded_after_it_is_purged(feeds):
    send(feeds, answer(1, TEXT), answer(2, TEXT), answer(3, "stays"))
    send(feeds, answer(2, gone=True))
    eraser = eraser_of(feeds)
    send(feeds, answer(1, gone=True))
    assert eraser.purge() == 1
    assert eraser.unpurged_count() == 0
    load(feeds, feeds.settings.home)
    assert eraser.unpurged_count() == 1
    assert eraser.purge() == 1
    assert texts(feeds) == {"stays"}
    assert eraser.unpurged_count() == eraser.purge() == 0


def test_text_that_comes_after_its_deletion_was_purged_is_purged_too(feeds):
    send(feeds, answer(2, gone=True), answer(3, "stays"))
    eraser = eraser_of(feeds)
    eraser.purge()
    send(feeds, answer(2, TEXT), answer(4, "stays too"))
    load(feeds, feeds.settings.home)
    assert eraser.unpurged_count() == 1
    assert eraser.purge() == 1
    assert texts(feeds) == {"stays", "stays too"}
    assert eraser.unpurged_count() == eraser.purge() == 0


@pytest.mark.parametrize("is_loaded_ahead", [False, True])
def test_a_purge_under_a_clock_that_is_ahead_hides_no_later_deletion(feeds, is_loaded_ahead):
    send(feeds, answer(1, TEXT), answer(2, TEXT), answer(2, gone=True))
    eraser = None if is_loaded_ahead else eraser_of(feeds)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=400), tick=True):
        eraser = eraser or eraser_of(feeds)
        assert eraser.purge() == 1
    send(feeds, answer(1, gone=True))
    load(feeds, feeds.settings.home)
    assert eraser.unpurged_count() == 1
    assert eraser.purge() == 1
    assert texts(feeds) == set()
    assert eraser.unpurged_count() == 0


def test_a_purge_that_an_earlier_release_noted_under_a_clock_that_was_ahead_counts_as_none(feeds):
    send(feeds, answer(1, TEXT), answer(1, gone=True))
    eraser = eraser_of(feeds)
    eraser.ledger.note_purge(datetime.now(UTC) + timedelta(days=400), 1)
    assert eraser.purge() == 1
    assert texts(feeds) == set()
    assert eraser.unpurged_count() == 0
