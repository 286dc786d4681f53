"""Old text is redacted where it is kept as it was collected, and nothing that is made from it changes."""

import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from data_platform_tests.pipeline.conftest import FIELDS, SHOP, Platform
from data_platform_tests.pipeline.kills import run_killed
from data_platform_tests.pipeline.test_erasure import holders

EMAIL, PHONE = "jane.quillfeather@mailbox.example", "(415) 555-0132"
ID = "4111111111111111"  # a card's number, if it were no id
HIDDEN = "jane&#64;hideout.example"
KEPT = "raw_text_days"
FEED = {**SHOP["feeds"][0], "fields": {**FIELDS, "title": "headline"}}
ON = {**SHOP, "feeds": [FEED], KEPT: 30}
OLD, YOUNG = 60, 2  # days
KILLS = 24
VERSIONS = "SELECT feedback_id, content_hash, title, body FROM raw_feedback ORDER BY ALL"
POSTS = [
    {
        "id": "first-1",
        "at": "2026-03-02T10:00:00Z",
        "headline": f"Call {PHONE}",
        "text": f"Write to {EMAIL}, I hate waiting",
        "user": "quill",
    },
    {"id": "other-2", "at": "2026-03-02T11:00:00Z", "text": "I love this shop", "user": "bo"},
    {"id": "third-3", "at": "2026-03-02T11:30:00Z", "text": f"Mail <b>{HIDDEN}</b>", "user": "bo"},
]
REFUSED = {"id": ID, "at": "no date", "text": f"{EMAIL} wrote this too", "user": "quill"}


def deliver(shop, name, rows, days_ago):
    """Write a CSV file that was last changed so long ago."""
    columns = ["id", "at", "headline", "text", "user", "deleted"]
    lines = [",".join(columns)]
    lines += [",".join(f'"{row.get(column, "")}"' for column in columns) for row in rows]
    path = shop.folder / "incoming" / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    moment = (datetime.now(UTC) - timedelta(days=days_ago)).timestamp()
    os.utime(path, (moment, moment))


def configure(shop, config):
    path = shop.folder / "feedback.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


def made(shop):
    """Everything that is made from raw text, but for when it was made."""
    return {
        "digests": {name: shop.digest()[name] for name in ("cleaned_feedback", "fct_feedback")},
        "scores": shop.rows(
            "SELECT feedback_id, scored_text_hash, compound FROM sentiment_scores ORDER BY ALL"
        ),
        "published": shop.published("SELECT * FROM daily_sentiment ORDER BY ALL"),
    }


def leaks(shop):
    """The planted secrets that some file of the data home holds."""
    return {secret for secret in (EMAIL, PHONE, "hideout") if holders(shop, secret)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A shop with posts of long ago, one of them refused; tests get copies."""
    shop = Platform(tmp_path_factory.mktemp("prepared"), ON)
    deliver(shop, "a.csv", [*POSTS, REFUSED], OLD)
    shop.run()
    assert leaks(shop) == {EMAIL, PHONE, "hideout"}
    return shop


@pytest.fixture(scope="module")
def maintained(prepared, tmp_path_factory):
    """The same shop after a maintenance, and what it printed."""
    folder = tmp_path_factory.mktemp("maintained") / "shop"
    shutil.copytree(prepared.folder, folder)
    shop = Platform(folder, ON)
    return shop, shop.cli("maintain")


@pytest.fixture
def copy_of(tmp_path):
    def copy(shop, name="shop"):
        shutil.copytree(shop.folder, tmp_path / name)
        return Platform(tmp_path / name, ON)

    return copy


def test_no_byte_is_left_of_old_text_and_what_is_made_from_it_stays(prepared, maintained):
    shop, told = maintained
    assert "Redacted: 3 record(s)." in told
    assert leaks(shop) == set()
    assert made(shop) == made(prepared)
    assert [row[2:] for row in shop.rows(VERSIONS)] == [
        ("Call <phone>", "Write to <email>, I hate waiting"),
        (None, "I love this shop"),
        (None, "Mail <email>"),
    ]


def test_a_post_that_is_delivered_again_is_known_and_redacted_again(maintained, copy_of):
    shop = copy_of(maintained[0])
    before, redacted = made(shop), shop.rows(VERSIONS)
    deliver(shop, "again.csv", [*POSTS, {**POSTS[1], "text": ""}], YOUNG)
    shop.run()
    assert [row[:2] for row in shop.rows(VERSIONS)] == [row[:2] for row in redacted]
    assert made(shop)["digests"] == before["digests"]
    assert leaks(shop) == {EMAIL, PHONE, "hideout"}
    assert "Redacted: 2 record(s)." in shop.cli("maintain")
    assert leaks(shop) == set()
    assert shop.rows(VERSIONS) == redacted
    assert made(shop)["digests"] == before["digests"]


def test_a_refused_record_is_replayed_without_its_personal_data(maintained, copy_of):
    shop = copy_of(maintained[0])
    inode = (shop.home / "warehouse.duckdb").stat().st_ino
    assert "Redacted: 0 record(s)." in shop.cli("maintain")
    assert (shop.home / "warehouse.duckdb").stat().st_ino == inode, "compacted for nothing"
    shutil.rmtree(shop.folder / "incoming")
    mended = {name: column for name, column in FEED["fields"].items() if name != "posted_at"}
    at = {"posted_at": "2026-03-02T12:00:00Z"}
    configure(shop, {**ON, "feeds": [{**FEED, "fields": mended, "constants": at}]})
    shop.cli("replay")
    assert shop.rows(f"SELECT body FROM raw_feedback WHERE source_id = '{ID}'") == [
        ("<email> wrote this too",)
    ]
    assert shop.rows("SELECT count(*) FROM quarantined_feedback") == [(0,)]


def test_text_is_kept_without_the_option_which_needs_to_know_what_to_redact(prepared, copy_of):
    shop = copy_of(prepared)
    configure(shop, {**ON, KEPT: None})
    assert "Redacted: 0 record(s)." in shop.cli("maintain")
    assert leaks(shop) == {EMAIL, PHONE, "hideout"}
    configure(shop, {**ON, "cleaning": {"redact": []}})
    assert "cleaning.redact is []" in shop.cli("maintain", code=2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_at_any_point_leaves_what_the_next_maintenance_completes(prepared, copy_of):
    counted = copy_of(prepared, "counted")
    total = run_killed(counted.environment, counted.folder, ["maintain"])
    expected = made(counted)
    for number in range(KILLS):
        shop = copy_of(prepared, f"killed{number}")
        point = 1 + number * total // KILLS
        assert run_killed(shop.environment, shop.folder, ["maintain"], point) == -1
        shop.cli("maintain")
        assert leaks(shop) == set(), f"after a kill at {point} of {total}"
        shop.run()
        assert made(shop) == expected
        shutil.rmtree(shop.folder)
