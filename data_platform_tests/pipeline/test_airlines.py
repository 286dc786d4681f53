"""14,640 real tweets with 155 repeated ids: nothing lost, every id exact, every score NLTK's own."""

import csv
import shutil
from datetime import date
from statistics import mean

import pytest

from data_platform.sentiment.vader import load_analyzer

AIRLINES = {
    "start_date": "2015-02-16",
    "feeds": [
        {
            "name": "airlines",
            "kind": "file",
            "source": "x",
            "path": "incoming/*.csv",
            "default_language": "en",
            "fields": {
                "source_id": "tweet_id",
                "posted_at": "tweet_created",
                "body": "text",
                "author_handle": "name",
                "label": "airline_sentiment",
                "topic": "airline",
            },
        }
    ],
}
RANGE = ("--from", "2015-02-16", "--to", "2015-02-25")


@pytest.fixture
def airlines(platform_in, test_data):
    platform = platform_in("airlines", AIRLINES)
    shutil.copy2(test_data("airline_tweets.csv"), platform.folder / "incoming")
    return platform


def test_every_tweet_is_stored_once_and_scored_as_nltk_scores_it(airlines):
    airlines.cli("backfill", *RANGE)
    with next((airlines.folder / "incoming").iterdir()).open(encoding="utf-8", newline="") as file:
        ids = [row["tweet_id"] for row in csv.DictReader(file)]
    assert len(ids) == 14_640
    stored = [row[0] for row in airlines.rows("SELECT source_id FROM raw_feedback")]
    assert sorted(stored) == sorted(set(ids))
    assert airlines.rows(
        "SELECT read_count, inserted_count, merged_count + unchanged_count, quarantined_count"
        " FROM source_health"
    ) == [(14_640, 14_485, 155, 0)]
    assert airlines.rows(
        "SELECT count(*) FROM (SELECT date FROM daily_sentiment GROUP BY date)"
    ) == [(8,)]
    analyzer = load_analyzer()
    scored = airlines.rows(
        "SELECT c.body_clean, s.compound FROM current_sentiment s JOIN cleaned_feedback c"
        " USING (feedback_id)"
    )
    assert len(scored) > 14_000
    wrong = [t for t, compound in scored if analyzer.polarity_scores(t)["compound"] != compound]
    assert wrong == []
    before = airlines.digest()
    assert "nothing changed" in airlines.cli("backfill", *RANGE)
    assert airlines.digest() == before


def test_the_flood_of_the_23rd_is_found_and_nothing_else_is(airlines):
    """A real event, of which nothing is told: on the 22nd and 23rd many flights were cancelled.

    The 17th and the 24th, the first and the last day of the file (in UTC), may be cut, and the first
    is. So the 23rd is the first day with five complete days before it, the 22nd among them.
    """
    airlines.cli("backfill", *RANGE)
    found = airlines.rows("SELECT topic, measure, direction, first_date, last_date FROM incidents")
    day = date(2015, 2, 23)
    assert sorted(found) == [
        ("American", "post_count", "up", day, day),
        ("all", "post_count", "up", day, day),
    ]
    judged = "SELECT DISTINCT date FROM daily_signals WHERE score IS NOT NULL"
    assert airlines.rows(judged) == [(day,)]


def test_macro_f1_is_that_of_a_plain_loop_over_the_file(airlines):
    """The labels are read from the file itself; where an id has two, the smaller one stands."""
    airlines.cli("backfill", *RANGE)
    labels = {}
    with next((airlines.folder / "incoming").iterdir()).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            post = f"x:{row['tweet_id']}"
            labels[post] = min(labels.get(post, "positive"), row["airline_sentiment"])
    scored = airlines.published(
        "SELECT feedback_id, s.label FROM current_sentiment s JOIN cleaned_feedback c"
        " USING (feedback_id) WHERE c.duplicate_of IS NULL"
    )
    f1s = []
    for label in ("negative", "neutral", "positive"):
        hits = sum(labels[post] == label == predicted for post, predicted in scored)
        either = sum((labels[post] == label) + (predicted == label) for post, predicted in scored)
        f1s.append(2 * hits / either)
    [(count, f1, low, high)] = airlines.published(
        "SELECT sample_count, f1_share, f1_low_share, f1_high_share FROM sentiment_evaluation"
        " WHERE feed = 'airlines' AND language = 'all' AND truth = 'label' AND label = 'macro'"
    )
    assert count == len(scored) > 14_000
    assert f1 == pytest.approx(mean(f1s), abs=1e-6)
    assert low < f1 < high < low + 0.03


def test_contradicting_labels_of_one_tweet_end_the_same_way_in_any_order(airlines, platform_in):
    """18 repeated ids carry two labels; the smallest canonical JSON decides, not the order."""
    path = next((airlines.folder / "incoming").iterdir())
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    backward = platform_in("backward", AIRLINES)
    copy = backward.folder / "incoming" / path.name
    with copy.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(reversed(rows))
    shutil.copystat(path, copy)
    airlines.cli("backfill", *RANGE)
    backward.cli("backfill", *RANGE)
    assert backward.digest() == airlines.digest()
