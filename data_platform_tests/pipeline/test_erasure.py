"""Erasing, as who is asked for it does it: nothing is left in any table or byte, and nothing comes back."""

import json
import shutil
import sqlite3
from datetime import UTC, date, datetime

import pytest
import yaml
from click.testing import CliRunner

from data_platform.cli import main
from data_platform.ingestion.erasure import ErasureLedger, apply_suppression
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.selection import Selection, find
from data_platform.settings import Environment, load_settings
from data_platform_tests.pipeline.conftest import SHOP, Platform

SECRET = "Zephyrine Quillfeather"
POSTS = [
    {
        "id": "first-1",
        "at": "2026-03-02T10:00:00Z",
        "text": f"Call me back, {SECRET}, about the broken kettle",
        "user": "quill",
    },
    {"id": "other-2", "at": "2026-03-02T11:00:00Z", "text": "I love this shop", "user": "bo"},
    {
        "id": "third-3",
        "at": "2026-03-04T11:00:00Z",
        "text": f"{SECRET} again: still no answer, terrible",
        "user": "quill",
    },
]
REFUSED = {"id": "bad-4", "at": "no date", "text": f"{SECRET} wrote this too", "user": "quill"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A shop after a run over posts of which some are to be erased; tests get copies."""
    shop = Platform(tmp_path_factory.mktemp("prepared"), SHOP)
    shop.deliver("a.csv", POSTS, day=1)
    shop.deliver("b.csv", [REFUSED, {**POSTS[1], "id": "x-5"}], day=2)
    shop.run()
    assert holders(shop, SECRET)
    return shop


@pytest.fixture
def erased_shop(prepared, tmp_path):
    shutil.copytree(prepared.folder, tmp_path / "shop")
    return Platform(tmp_path / "shop", SHOP)


def holders(shop, text, folder="data"):
    """Return the files of the data home that hold a text in their bytes, packed or not."""
    import pyarrow.parquet as pq

    found = []
    for path in sorted((shop.folder / folder).rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        if text.encode() in content:
            found.append(path.relative_to(shop.folder).as_posix())
    return found


def counts(shop):
    return dict(
        shop.published("SELECT date::VARCHAR, sum(post_count)::INT FROM daily_sentiment GROUP BY 1")
    )


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--author", "quill"], {"2026-03-02": 2}),
        (["--author", "@quill"], {"2026-03-02": 2}),
        (["--post", "first-1", "--post", "shop:third-3", "--post", "bad-4"], {"2026-03-02": 2}),
    ],
)
def test_no_byte_is_left_of_what_was_erased(erased_shop, options, left):
    shop = erased_shop
    told = shop.cli("erase", *options, "--yes")
    assert "2 post(s) of 2 day(s) in 2 segment(s), 1 record(s) in quarantine" in told
    assert "a.csv" in told
    assert counts(shop) == left
    assert holders(shop, SECRET) == []
    for secret in ("first-1", "third-3", "bad-4"):
        assert holders(shop, secret) == []
    assert shop.rows("SELECT count(*) FROM raw_feedback WHERE is_deleted") == [(2,)]
    assert shop.rows("SELECT count(*) FROM dim_author") == [(1,)]


def test_no_byte_is_left_on_days_before_a_start_date_that_moved_forward(erased_shop):
    shop = erased_shop
    config = {**SHOP, "start_date": "2026-03-04"}
    (shop.folder / "feedback.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shop.cli("erase", "--author", "quill", "--yes")
    assert holders(shop, SECRET) == []
    assert counts(shop) == {"2026-03-02": 2}


def test_an_erased_post_does_not_come_back(erased_shop):
    """Not by another file, a backfill, another mapping, a replay, nor by a new post of the author."""
    shop = erased_shop
    shop.cli("erase", "--author", "quill", "--yes")
    before = shop.digest()
    shop.deliver("again.csv", POSTS, day=5)
    shop.run()
    assert holders(shop, SECRET) == []
    shop.cli("backfill", "--from", "2026-03-01", "--to", "2026-03-05")
    shop.cli("replay")
    assert holders(shop, SECRET) == []
    assert {name: shop.digest()[name] for name in ("cleaned_feedback", "fct_feedback")} == {
        name: before[name] for name in ("cleaned_feedback", "fct_feedback")
    }
    new = {**POSTS[0], "id": "new-9", "at": "2026-03-06T10:00:00Z"}
    shop.deliver("new.csv", [new, {**REFUSED, "id": "bad-10"}], day=6)
    shop.run()
    assert holders(shop, SECRET) == []
    assert "2026-03-06" not in counts(shop)


def test_records_go_on_adding_up(erased_shop):
    shop = erased_shop
    shop.cli("erase", "--author", "quill", "--yes")
    (read, stored) = shop.rows(
        "SELECT read_count, inserted_count + merged_count + unchanged_count + quarantined_count"
        " FROM source_health"
    )[0]
    assert read == stored == 5


def test_a_dry_run_changes_nothing(erased_shop):
    shop = erased_shop
    before = shop.digest()
    assert "2 post(s)" in shop.cli("erase", "--author", "quill", "--dry-run")
    assert shop.digest() == before
    done = CliRunner().invoke(
        main, ["erase", "--author", "quill"], env=shop.environment, input="n\n"
    )
    assert done.exit_code == 1
    assert shop.digest() == before


def test_a_feed_is_erased_up_to_a_day(erased_shop):
    shop = erased_shop
    shop.cli("erase", "--feed", "shop", "--before", "2026-03-03", "--yes")
    assert counts(shop) == {"2026-03-04": 1}
    shop.cli("erase", "--feed", "shop", "--yes")
    assert counts(shop) == {}
    assert "No erasure is open." in shop.cli("erase", "--resume")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--feed", "shpo"],
        ["--before", "yesterday"],
        ["--author", "@"],
        ["--author", ""],
        ["--post", " "],
    ],
)
def test_mistakes_are_told(erased_shop, options):
    assert "Traceback" not in erased_shop.cli("erase", *options, code=2)


def test_who_is_asked_for_is_named_nowhere(erased_shop):
    shop = erased_shop
    shop.cli("erase", "--author", "quill", "--yes")
    assert holders(shop, "quill") == []


def test_text_of_a_post_that_its_source_deleted_is_purged(erased_shop):
    shop = erased_shop
    shop.deliver("c.csv", [{"id": "first-1", "at": POSTS[0]["at"], "deleted": "true"}], day=5)
    shop.run()
    assert holders(shop, "broken kettle"), "the segment and free space of the file still hold it"
    before = shop.digest()
    shop.cli("maintain")
    assert holders(shop, "broken kettle") == []
    assert shop.digest() == before


def test_what_a_refused_record_says_of_a_post_goes_with_the_post(erased_shop):
    shop = erased_shop
    refused = {"id": "first-1", "at": "no date", "text": "the lid is cracked", "user": "quill"}
    shop.deliver("c.csv", [refused, {**POSTS[1], "id": "x-6"}], day=4)
    shop.deliver("d.csv", [{"id": "first-1", "at": POSTS[0]["at"], "deleted": "true"}], day=5)
    shop.run()
    assert holders(shop, "the lid is cracked")
    shop.cli("maintain")
    assert holders(shop, "the lid is cracked") == []
    assert holders(shop, "wrote this too"), "of another post, which nobody deleted"


def test_who_asks_is_told_all_that_is_held(erased_shop):
    shop = erased_shop
    record = json.loads(shop.cli("export", "--author", "@quill", "--output", "-"))
    assert [post["source_id"] for post in record["posts"]] == ["first-1", "third-3"]
    assert record["posts"][0]["body"] == POSTS[0]["text"]
    assert {score["feedback_id"] for score in record["scores"]} == {"shop:first-1", "shop:third-3"}
    (held,) = record["quarantine"]
    assert SECRET in held["payload"]
    path = shop.folder / "asked.json"
    shop.cli("export", "--author", "quill", "--output", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    shop.cli("erase", "--author", "quill", "--yes")
    record = json.loads(shop.cli("export", "--author", "quill", "--output", "-"))
    assert record["posts"] == record["scores"] == record["quarantine"] == []


def test_what_is_due_for_long_is_told(erased_shop):
    """An erasure that nobody completes fails a check, and so becomes an alert."""
    shop = erased_shop
    shop.run()
    assert shop.published("SELECT count(*) FROM erasures") == [(0,)]
    with sqlite3.connect(shop.home / "landing" / "ledger.sqlite") as ledger:
        ledger.execute(
            "INSERT INTO erasures VALUES ('e', 'posts', '2026-01-01T00:00:00+00:00', NULL, 1, '[]')"
        )
    shop.cli("run")
    status = json.loads(shop.cli("status", "--json", code=1))
    failing = [check["check"] for check in status["automation"]["failing_checks"]]
    assert "what_was_deleted_is_gone_in_time" in failing
    shop.cli("maintain")
    shop.cli("run")
    ((completed_at,),) = shop.published("SELECT completed_at FROM erasures")
    assert completed_at
    assert "what_was_deleted_is_gone_in_time" not in shop.cli("status", "--json")


def test_an_author_up_to_a_day_is_no_author_for_good(erased_shop):
    """What a narrower request does not name stays, and goes on being taken in."""
    shop = erased_shop
    shop.cli("erase", "--author", "quill", "--before", "2026-03-03", "--yes")
    assert counts(shop) == {"2026-03-02": 2, "2026-03-04": 1}
    assert holders(shop, "broken kettle") == []
    shop.deliver("new.csv", [{**POSTS[0], "id": "new-9", "at": "2026-03-06T10:00:00Z"}], day=6)
    shop.run()
    assert counts(shop)["2026-03-06"] == 1


def test_refused_records_of_an_erased_feed_are_emptied(erased_shop):
    shop = erased_shop
    shop.cli("erase", "--feed", "shop", "--yes")
    assert holders(shop, SECRET) == []
    assert holders(shop, "bad-4") == []


def test_a_short_id_does_not_empty_what_only_mentions_it(erased_shop):
    shop = erased_shop
    shop.deliver("c.csv", [{**REFUSED, "id": "77", "text": "1 star of 5, quill said"}], day=5)
    shop.run()
    shop.cli("erase", "--post", "1", "--yes")
    assert holders(shop, "1 star of 5")
    shop.cli("erase", "--author", "bo", "--yes")
    assert holders(shop, "1 star of 5")
    assert "77" in str(shop.rows("SELECT source_id FROM quarantined_feedback"))


def test_an_id_that_has_not_come_yet_is_erased_when_it_comes(erased_shop):
    shop = erased_shop
    shop.cli("erase", "--post", "later-7", "--yes")
    shop.deliver("d.csv", [{**POSTS[1], "id": "later-7", "text": "a turquoise umbrella"}], day=5)
    shop.run()
    assert holders(shop, "turquoise umbrella") == []


def test_posts_of_a_feed_that_is_configured_no_more_are_erased_too(erased_shop):
    shop = erased_shop
    other = {**SHOP["feeds"][0], "name": "other", "path": "other/*.csv"}
    path = shop.folder / "feedback.yaml"
    path.write_text(yaml.safe_dump({**SHOP, "feeds": [other]}), encoding="utf-8")
    shop.cli("erase", "--author", "quill", "--yes")
    assert holders(shop, SECRET) == []
    assert shop.rows("SELECT count(*) FROM raw_feedback WHERE NOT is_deleted") == [(2,)]


@pytest.fixture
def interrupted(erased_shop):
    """A shop whose erasure was killed when the segments were written anew, and nothing else."""
    shop = erased_shop
    config = shop.folder / "feedback.yaml"
    told = Environment(data_platform_home=shop.home, data_platform_config=config)
    feeds = Feeds(load_settings(told, shop.folder))
    ledger = ErasureLedger(feeds.ledger.path)
    selection = Selection(feed="shop", before=date(2026, 3, 3))
    found = find(feeds, selection)
    ledger.request(selection, found, ledger.suppression(feeds.author_key()), datetime.now(UTC))
    apply_suppression(feeds, ledger)
    assert holders(shop, "broken kettle")
    return shop


def test_resuming_takes_no_selection_and_a_dry_run_of_it_changes_nothing(interrupted):
    shop = interrupted
    before = shop.digest(), holders(shop, "broken kettle")
    assert "without --resume" in shop.cli("erase", "--resume", "--author", "bo", "--yes", code=2)
    told = shop.cli("erase", "--resume", "--dry-run")
    assert "posts of feed shop before 2026-03-03" in told
    assert (shop.digest(), holders(shop, "broken kettle")) == before


def test_the_same_command_completes_what_was_interrupted(interrupted):
    shop = interrupted
    again = ("erase", "--feed", "shop", "--before", "2026-03-03")
    assert "Open since" in shop.cli(*again, "--dry-run")
    assert holders(shop, "broken kettle")
    shop.cli(*again, "--yes")
    assert holders(shop, "broken kettle") == []
    assert "Nothing is erased." in shop.cli(*again, "--yes")


@pytest.mark.parametrize(
    "options",
    [["feedback"], ["--list"], ["--from", "2026-03-01"], ["--feed", "shop"], ["--format", "csv"]],
)
def test_what_would_narrow_down_all_that_is_held_is_refused(erased_shop, options):
    told = erased_shop.cli("export", "--author", "quill", *options, code=2)
    assert "call it without TABLE" in told
