"""From a file with labels and stars to sentiment_evaluation, in the warehouse and in what is published."""

import os

import pytest

from data_platform_tests.pipeline.conftest import FIELDS, SHOP

REVIEWS = SHOP | {
    "feeds": [
        SHOP["feeds"][0]
        | {
            "fields": FIELDS | {"label": "verdict", "rating": "stars"},
            "rating_scale": [1, 5],
        }
    ]
}
HEADER = "id,at,text,user,deleted,verdict,stars"
ROWS = [
    "1,2026-03-02T10:00:00Z,I love the new shop,ann,,positive,5",
    "2,2026-03-02T11:00:00Z,The parcel is terrible,bo,,negative,2",
    "3,2026-03-02T12:00:00Z,What a great idea to close on Sunday,cy,,negative,1",
    "4,2026-03-03T09:00:00Z,I ordered on Monday and got it on Friday,dee,,neutral,",
    "5,2026-03-03T10:00:00Z,I hate waiting,eve,,,4",
]
COUNTS = (
    "SELECT truth, label, sample_count, predicted_negative_count, predicted_neutral_count,"
    " predicted_positive_count FROM sentiment_evaluation WHERE language = 'all' AND label <> 'macro'"
    " AND support_count > 0 ORDER BY truth, label"
)


@pytest.fixture
def reviews(platform_in):
    return platform_in("reviews", REVIEWS)


def deliver(platform, name, rows, day):
    path = platform.folder / "incoming" / name
    path.write_text("\n".join([HEADER, *rows]), encoding="utf-8")
    os.utime(path, (1774958400 + day * 86400,) * 2)  # that many days after 2026-03-31T12:00Z


def test_a_run_over_labels_and_stars_fills_and_publishes_the_evaluation(reviews):
    deliver(reviews, "a.csv", ROWS, day=1)
    assert reviews.run()["failures"] == []
    expected = [
        ("label", "negative", 4, 1, 0, 1),
        ("label", "neutral", 4, 0, 1, 0),
        ("label", "positive", 4, 0, 0, 1),
        ("rating", "negative", 4, 1, 0, 1),
        ("rating", "positive", 4, 1, 0, 1),
    ]
    assert reviews.rows(COUNTS) == expected
    assert reviews.published(COUNTS) == expected
    before = reviews.published("SELECT * FROM sentiment_evaluation ORDER BY ALL")
    reviews.run()
    assert reviews.published("SELECT * FROM sentiment_evaluation ORDER BY ALL") == before
    assert "sentiment_evaluation" in reviews.cli("status")


def test_what_is_deleted_or_loses_its_label_leaves_the_evaluation(reviews):
    deliver(reviews, "a.csv", ROWS, day=1)
    reviews.run()
    deleted = "2,2026-03-02T11:00:00Z,,,true,,"
    unlabelled = ROWS[0].replace("positive", "")
    deliver(reviews, "b.csv", [deleted, unlabelled], day=2)
    reviews.run()
    assert reviews.published(COUNTS) == [
        ("label", "negative", 2, 0, 0, 1),
        ("label", "neutral", 2, 0, 1, 0),
        ("rating", "negative", 3, 0, 0, 1),
        ("rating", "positive", 3, 1, 0, 1),
    ]
