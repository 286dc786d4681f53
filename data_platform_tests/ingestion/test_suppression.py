"""Tests of the list of erased posts: what it makes of records, with and without good ones among them."""

import pyarrow as pa
import pytest

from data_platform.ingestion.collect import collect_files
from data_platform.ingestion.connectors.file import FileConnector
from data_platform.ingestion.contract import POST_SCHEMA
from data_platform.ingestion.ledger import Ledger
from data_platform.ingestion.suppression import ERASED, Suppression
from data_platform.storage.landing import LandingZone
from data_platform_tests.ingestion.conftest import file_feed
from data_platform_tests.ingestion.test_collect import KEY, OPEN


def erasing(key: bytes) -> Suppression:
    """What was erased: one post."""
    return Suppression(key, frozenset({Suppression(key).erased_id("acme:gone")}))


class ErasingLedger(Ledger):
    """A ledger of a home where a post was erased."""

    def suppression(self, key: bytes) -> Suppression:
        return erasing(key)


def test_no_posts_stay_no_posts():
    assert erasing(KEY).applied(POST_SCHEMA.empty_table()).num_rows == 0


@pytest.mark.parametrize("rows", ["", "1,soon,no date\n"])
def test_after_an_erasure_a_file_without_a_good_record_stops_nothing(home, rows):
    incoming = home / "incoming"
    incoming.mkdir()
    (incoming / "a.csv").write_text("id,at,text\n" + rows)
    (incoming / "b.csv").write_text("id,at,text\n2,2024-03-05,fine\ngone,2024-03-05,hello\n")
    landing, ledger = LandingZone(home / "landing"), ErasingLedger(home / "landing" / "l.sqlite")
    feed = FileConnector(file_feed(source="acme"), home)
    result = collect_files(feed, landing, ledger, author_key=KEY, open_days=OPEN)
    assert (result.errors, result.delivery_count, result.refused_count) == ([], 2, bool(rows))
    segments = [s for day in landing.days("shop") for s in landing.segments(["shop"], day)]
    posts = pa.Table.from_batches(landing.read(segments, POST_SCHEMA)).to_pylist()
    kept, erased = sorted(posts, key=lambda post: post["is_deleted"])
    assert (kept["source_id"], kept["body"]) == ("2", "fine")
    assert erased["source_id"].startswith(ERASED)
    assert erased["body"] is None
