"""Old text that is redacted in the raw zone: how old it must be, what is noted, and what a kill leaves."""

import json
from datetime import UTC, date, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from data_platform.cleaning.privacy import Redaction
from data_platform.cleaning.raw_text import TextRedactor
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.intake import Intake
from data_platform.ingestion.raw import load_quarantine
from data_platform.ingestion.raw_retention import RetentionLedger, redact_raw
from data_platform.ingestion.segment_compaction import FEWEST_SEGMENTS, compact_segments
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.cleaning.test_privacy import AS_CONFIGURED, CARD, EMAIL
from data_platform_tests.ingestion.platforms.stored import load
from data_platform_tests.ingestion.test_intake import BLOCK, SECRET, answer
from data_platform_tests.ingestion.test_segment_compaction import Killed, kill, send

BIG_ID = "4111111111111111"  # a card's number, if it were no id
REDACTOR = TextRedactor(AS_CONFIGURED)
PLACE = "data_platform.ingestion.raw_retention"


@pytest.fixture
def feeds(configured, monkeypatch):
    monkeypatch.setenv("SURVEY_SECRET", SECRET)
    return Feeds(configured({"start_date": "2026-01-01", "feeds": [BLOCK]}))


@pytest.fixture
def filled(feeds, home):
    """Posts of one day, an edited one and two refused records among them, loaded."""
    intake = Intake(feeds, "survey")
    send(intake, answer(1, f"mail {EMAIL}"), answer(2, "nothing personal"))
    send(intake, answer(1, f"mail {EMAIL}, edited"), answer(3, f"card {CARD}"))
    broken = {"id": BIG_ID, "at": "never", "answer": f"mail {EMAIL}", "more": [{"score": 1.50}]}
    send(intake, broken, {**broken, "id": 8, "answer": "nothing"})
    intake.close()
    load_all(feeds, home)
    return feeds


def load_all(feeds, home):
    warehouse = load(feeds, home)
    with warehouse.transaction() as transaction:
        first, last = date(2026, 1, 1), datetime.now(UTC).date()
        load_quarantine(transaction, feeds.landing, feeds.names, first, last)
    return warehouse


def redact(feeds, home, age=timedelta(0), redactor=REDACTOR):
    """Redact what was observed so long ago."""
    warehouse = Warehouse(home / "warehouse.duckdb")
    return redact_raw(feeds, warehouse, redactor, datetime.now(UTC) - age)


def held(feeds, home):
    """Return every text of the raw zone: of the segments, then of the tables."""
    landed = []
    for path in sorted(feeds.landing.root.glob("survey/*/*.parquet")):
        landed += [row.get("body") or row["payload"] for row in pq.read_table(path).to_pylist()]
    with Warehouse(home / "warehouse.duckdb").transaction() as transaction:
        rows = transaction.connection.execute(
            "SELECT body FROM raw_feedback UNION ALL SELECT payload FROM quarantined_feedback"
        ).fetchall()
    return sorted(landed), sorted(text for (text,) in rows)


def personal(texts):
    return [text for part in texts for text in part if EMAIL in text or CARD in text]


def test_text_and_payloads_are_redacted_in_segments_and_tables_alike(filled, home):
    assert len(personal(held(filled, home))) == 2 * 4
    before = keys(home)
    done = redact(filled, home)
    assert done.record_count == 4
    assert [write.changed for write in done.writes] == [True]
    landed, stored = held(filled, home)
    assert landed == stored
    assert personal((landed, stored)) == []
    assert "mail <email>, edited" in stored
    assert keys(home) == before
    (payload,) = [json.loads(text) for text in stored if BIG_ID in text]
    assert payload["answer"] == "mail <email>"
    assert payload["id"] == BIG_ID


def keys(home):
    with Warehouse(home / "warehouse.duckdb").transaction() as transaction:
        return transaction.connection.execute(
            "SELECT feedback_id, content_hash, is_current FROM raw_feedback ORDER BY ALL"
        ).fetchall()


def test_what_is_done_is_neither_read_nor_written_again(filled, home, monkeypatch):
    redact(filled, home)
    monkeypatch.setattr(f"{PLACE}.pq.read_table", kill)
    done = redact(filled, home)
    assert (done.record_count, done.writes) == (0, [])


def test_a_segment_without_personal_data_is_not_written_anew(filled, home):
    intake = Intake(filled, "survey")
    send(intake, answer(50, "a plain text"))
    intake.close()
    load_all(filled, home)
    paths = {path: path.stat().st_ino for path in filled.landing.root.glob("survey/*/*.parquet")}
    redact(filled, home)
    kept = [path for path, inode in paths.items() if path.stat().st_ino == inode]
    assert len(paths) - len(kept) == 3
    assert len(kept) == 1


def test_young_text_is_kept_and_looked_at_when_its_time_has_come(filled, home, monkeypatch):
    assert redact(filled, home, timedelta(hours=1)).record_count == 0
    assert len(personal(held(filled, home))) == 2 * 4
    assert not RetentionLedger(filled.ledger.path).has_open_redaction()
    with monkeypatch.context() as broken:
        broken.setattr(f"{PLACE}.pq.read_table", kill)
        assert redact(filled, home, timedelta(minutes=59)).record_count == 0
    assert redact(filled, home).record_count == 4


def test_a_version_that_comes_again_is_redacted_though_it_is_young(filled, home):
    redact(filled, home)
    intake = Intake(filled, "survey")
    before = datetime.now(UTC)
    send(intake, answer(1, f"mail {EMAIL}"), answer(60, f"also {EMAIL}"))
    intake.close()
    warehouse = load_all(filled, home)
    known = keys(home)
    assert len(known) == 5
    assert redact_raw(filled, warehouse, REDACTOR, before).record_count == 1
    assert personal(held(filled, home)) == [f"also {EMAIL}"] * 2
    assert redact(filled, home).record_count == 1
    assert personal(held(filled, home)) == []
    assert keys(home) == known


def test_another_redactor_reads_everything_again(filled, home):
    cards = TextRedactor(Redaction(frozenset({"card"})))
    assert redact(filled, home, redactor=cards).record_count == 1
    assert redact(filled, home, redactor=cards).record_count == 0
    assert redact(filled, home).record_count == 3
    assert personal(held(filled, home)) == []


def test_segments_of_a_feed_that_is_gone_are_redacted(filled, home, configured):
    other = Feeds(configured({"start_date": "2026-01-01", "feeds": [{**BLOCK, "name": "other"}]}))
    assert other.landing.root == filled.landing.root
    assert redact(other, home).record_count == 4
    assert personal(held(filled, home)) == []


def test_compacted_segments_are_redacted_once(filled, home):
    intake = Intake(filled, "survey")
    for number in range(FEWEST_SEGMENTS):
        send(intake, answer(100 + number, f"{number} {EMAIL}"))
    intake.close()
    warehouse = load_all(filled, home)
    redact(filled, home)
    assert compact_segments(filled, warehouse) > 0
    assert redact(filled, home).record_count == 0
    assert personal(held(filled, home)) == []


@pytest.mark.parametrize(
    "place",
    [
        f"{PLACE}.replace_segment",
        f"{PLACE}._Folder._redact_rows",
        f"{PLACE}._Folder._write_rows",
        f"{PLACE}._Folder._write_payloads",
        f"{PLACE}.RetentionLedger.note",
    ],
)
def test_a_kill_leaves_nothing_that_the_next_try_does_not_find(filled, home, monkeypatch, place):
    with monkeypatch.context() as broken:
        broken.setattr(place, kill)
        with pytest.raises(Killed):
            redact(filled, home)
    redact(filled, home)
    landed, stored = held(filled, home)
    assert landed == stored
    assert personal((landed, stored)) == []
    ledger = RetentionLedger(filled.ledger.path)
    assert ledger.has_open_redaction()
    ledger.finish_redaction(datetime.now(UTC))
    assert redact(filled, home).writes == []
    assert not ledger.has_open_redaction()
