"""`data-platform replay`: what passes after a mend reaches every table, and leaves quarantine."""

import copy

import yaml

from data_platform_tests.pipeline.conftest import SHOP

ROWS = [
    {"id": "1", "at": "2026-03-02T10:00:00Z", "text": "I love the new shop"},
    {"id": "2", "at": "03.03.2026 11:00", "text": "I hate to wait"},
    {"id": "3", "at": "soon", "text": "hm"},
]


def test_a_mend_releases_the_records_of_a_file_that_is_gone(shop):
    shop.deliver("a.csv", ROWS, day=1)
    assert shop.run()["quarantined_count"] == 2
    (shop.folder / "incoming" / "a.csv").unlink()
    assert "0 record(s) left quarantine" in shop.cli("replay")
    config = copy.deepcopy(dict(SHOP))
    config["feeds"][0]["posted_at_format"] = "%d.%m.%Y %H:%M"
    (shop.folder / "feedback.yaml").write_text(yaml.safe_dump(config))
    assert "1 record(s) left quarantine" in shop.cli("replay", "--feed", "shop")
    assert shop.published("SELECT sum(post_count), sum(negative_count) FROM daily_sentiment") == [
        (2, 1)
    ]
    assert shop.rows("SELECT row_number, reason FROM quarantined_feedback") == [
        (3, "posted_at cannot be read as a date and time")
    ]
    assert shop.rows("SELECT read_count, quarantined_count FROM source_health") == [(3, 1)]
    assert "0 record(s) left quarantine" in shop.cli("replay")
    assert shop.run()["changed_table_days"] == 0


def test_an_unknown_feed_is_refused_with_the_nearest(shop):
    assert "did you mean shop?" in shop.cli("replay", "--feed", "shopp", code=2)
