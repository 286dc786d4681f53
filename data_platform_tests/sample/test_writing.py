"""Tests that the files hold what the summary says, read back without its help."""

import datetime as dt
import hashlib
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from data_platform.sample import SAMPLE_FEEDS, write_sample
from data_platform_tests.sample.conftest import LAST_DAY, WrittenSample

FEEDS = [config["name"] for config in SAMPLE_FEEDS]
OWN_MENTIONS = {"larkwing", "Larkwing", "larkwing_care"}


def fingerprint(folder: Path) -> dict[str, tuple[str, float]]:
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_arguments_give_the_same_bytes_and_times(sample, tmp_path):
    assert write_sample(tmp_path, LAST_DAY) == sample.summary
    assert fingerprint(tmp_path) == fingerprint(sample.folder)


def test_another_seed_gives_other_posts_and_the_same_faults(sample, tmp_path):
    other = write_sample(tmp_path, LAST_DAY, seed=8)
    assert other.broken_rows == sample.summary.broken_rows
    assert not {h for h, _ in fingerprint(tmp_path).values()} & {
        h for h, _ in fingerprint(sample.folder).values()
    }


@pytest.mark.parametrize("last_day", [dt.date(2024, 3, 1), dt.date(2026, 1, 3)])
def test_any_last_day_has_its_thirty_days(tmp_path, last_day):
    """A leap day, a turn of the year."""
    summary = write_sample(tmp_path, last_day)
    days = {last_day - dt.timedelta(days=n) for n in range(30)}
    assert all(set(feed.posts_by_day) == days for feed in summary.feeds.values())


def test_the_summary_names_the_files_that_the_configuration_finds(sample):
    found = [
        {path.relative_to(sample.folder).as_posix() for path in sample.folder.glob(config["path"])}
        for config in SAMPLE_FEEDS
    ]
    assert found == [set(sample.summary.feeds[feed].files) for feed in FEEDS]
    assert set().union(*found) == set(fingerprint(sample.folder)) == set(sample.summary.files)
    assert sum(path.endswith(".csv.gz") for path in sample.summary.files) == 2


def test_the_sample_has_about_six_thousand_posts_in_four_languages(sample):
    assert 5_500 <= sample.summary.posts <= 6_500
    languages = sample.summary.posts_by_language
    assert set(languages) == {"en", "de", "es", "fr"}
    assert 0.65 <= languages["en"] / languages.total() <= 0.75
    assert min(languages.values()) > 300


@pytest.mark.parametrize("feed", FEEDS)
def test_rows_add_up(sample, feed):
    expected = sample.summary.feeds[feed]
    assert len(sample.records(feed)) == expected.rows
    assert expected.rows == (
        expected.posts
        + expected.redelivered
        + expected.edits
        + expected.deletions
        + sum(expected.broken_rows.values())
    )


@pytest.mark.parametrize("feed", FEEDS)
def test_broken_rows_are_as_many_as_the_summary_says(sample, feed):
    faults = Counter(record.fault for record in sample.records(feed) if record.fault)
    assert faults == sample.summary.feeds[feed].broken_rows


def test_one_row_of_a_hundred_is_broken(sample):
    assert 0.008 <= sample.summary.broken_rows.total() / sample.summary.rows <= 0.012


@pytest.mark.parametrize("feed", FEEDS)
def test_each_repeated_id_is_a_planted_redelivery_edit_or_deletion(sample, feed):
    known: dict[object, tuple[int, dict[str, object]]] = {}
    seen: Counter[str] = Counter()
    for record in sample.posts(feed):
        key = record.values["source_id"]
        if key not in known:
            known[key] = record.file, record.values
            continue
        file, values = known[key]
        assert record.file > file
        if record.values == values:
            seen["redelivered"] += 1
        elif record.values.get("is_deleted") in (True, "true"):
            seen["deletions"] += 1
        elif record.values["body"] != values["body"]:
            seen["edits"] += 1
    expected = sample.summary.feeds[feed]
    assert len(known) == expected.posts
    assert seen["redelivered"] == expected.redelivered
    assert seen["deletions"] == expected.deletions
    assert seen["edits"] == expected.edits


@pytest.mark.parametrize("feed", FEEDS)
def test_late_posts_come_after_the_file_that_covers_their_day(sample, feed):
    delivered = sample.delivered_at(feed)
    first_seen = {r.values["source_id"]: r for r in reversed(sample.posts(feed))}
    late = [
        record
        for record in first_seen.values()
        if record.file and record.posted_at < delivered[record.file - 1]
    ]
    assert len(late) == sample.summary.feeds[feed].late
    assert all(delivered[r.file] - r.posted_at > dt.timedelta(days=2) for r in late)


@pytest.mark.parametrize("feed", FEEDS)
def test_posts_by_day_are_those_in_the_files(sample, feed):
    first_seen = {r.values["source_id"]: r.posted_at.date() for r in sample.posts(feed)}
    assert Counter(first_seen.values()) == sample.summary.feeds[feed].posts_by_day


@pytest.mark.parametrize("feed", FEEDS)
def test_files_come_one_after_the_other_and_hold_nothing_from_after_their_delivery(sample, feed):
    delivered = sample.delivered_at(feed)
    assert all(early < late for early, late in pairwise(delivered))
    for record in sample.posts(feed):
        assert record.posted_at < delivered[record.file]
        if edited_at := record.values.get("edited_at"):
            edited = dt.datetime.fromisoformat(edited_at)
            assert record.posted_at < edited < delivered[record.file]


def test_the_incident_is_loud_and_negative(sample):
    by_day = sample.summary.feeds["larkwing_social"].posts_by_day
    incident = sample.summary.incident_days
    assert incident == (LAST_DAY - dt.timedelta(days=11), LAST_DAY - dt.timedelta(days=10))
    usual = sorted(count for day, count in by_day.items() if day not in incident)
    assert min(by_day[day] for day in incident) >= 3 * usual[len(usual) // 2]
    bodies = [
        r.values["body"].lower()
        for r in sample.posts("larkwing_social")
        if r.posted_at.date() in incident
    ]
    assert sum("check-in" in body for body in bodies) > len(bodies) / 2


def test_weekends_are_quieter(sample):
    by_day = sample.summary.feeds["kaffeklar_reviews"].posts_by_day
    weekend = [count for day, count in by_day.items() if day.weekday() >= 5]
    working = [count for day, count in by_day.items() if day.weekday() < 5]
    assert max(weekend) < min(working)


def test_retweets_repeat_another_authors_text(sample):
    posts = sample.posts("larkwing_social")
    texts = {(r.values["author_handle"], r.values["body"]) for r in posts}
    retweets = {
        r.values["source_id"]: re.match(r"RT @(\w+): (.*)", r.values["body"], re.DOTALL).groups()
        for r in posts
        if r.values["body"].startswith("RT @")
    }
    assert len(retweets) == sample.summary.feeds["larkwing_social"].retweets
    assert set(retweets.values()) <= texts


def test_a_campaign_is_one_long_text_by_several_authors(sample):
    authors = defaultdict(list)
    for record in sample.posts("larkwing_social"):
        if len(record.values["body"]) >= 40:
            authors[record.values["body"]].append(record.values["author_handle"])
    campaigns = [handles for handles in authors.values() if len(set(handles)) >= 3]
    expected = sample.summary.feeds["larkwing_social"].campaign_posts
    assert sum(map(len, campaigns)) == expected


@pytest.mark.parametrize("feed", FEEDS)
def test_some_authors_write_the_same_text_twice(sample, feed):
    ids = defaultdict(set)
    for record in sample.posts(feed):
        values = record.values
        is_customer = not values["author_handle"].startswith("fonwisp_team")
        if is_customer and len(values["body"] or "") >= 40:
            ids[values["author_handle"], values["body"]].add(values["source_id"])
    repeated = sum(len(posts) - 1 for posts in ids.values())
    expected = sample.summary.feeds[feed].author_repeats
    assert expected <= repeated <= expected + 3  # a few by chance


@pytest.mark.parametrize("feed", ["larkwing_social", "kaffeklar_reviews"])
def test_some_texts_are_mojibake(sample, feed):
    bodies = {
        r.values["source_id"]: r.values["body"]
        for r in sample.posts(feed)
        if re.search("[ÃÂâð][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]", r.values["body"])
    }
    assert len(bodies) == sample.summary.feeds[feed].mojibake


def test_labels_are_on_a_tenth_of_the_social_posts(sample):
    labels = {r.values["source_id"]: r.values["label"] for r in sample.posts("larkwing_social")}
    assert set(labels.values()) == {"", "negative", "neutral", "positive"}
    expected = sample.summary.feeds["larkwing_social"]
    assert sum(map(bool, labels.values())) == expected.labelled
    assert 0.08 <= expected.labelled / expected.posts <= 0.12


def test_social_texts_have_what_social_texts_have(sample):
    bodies = [r.values["body"] for r in sample.posts("larkwing_social")]
    for sign in ("&amp;", "&lt;3", "\n", "#", "@larkwing", "https://", "!!!", "soooo", "😀", ":("):
        assert sum(sign in body for body in bodies) >= 5, sign
    assert any(len(body) < 30 and "thanks!" in body.lower() for body in bodies)


def test_review_ids_are_numbers_that_a_double_would_round(sample):
    ids = {r.values["source_id"] for r in sample.posts("kaffeklar_reviews")}
    assert all(isinstance(number, int) and int(float(number)) != number for number in ids)


def test_reviews_have_stars_and_gaps(sample):
    posts = [r.values for r in sample.posts("kaffeklar_reviews")]
    assert {values["rating"] for values in posts} == {1, 2, 3, 4, 5, None}
    for field in ("language", "title", "edited_at"):
        missing = sum(values[field] is None for values in posts)
        assert 0.05 * len(posts) < missing < len(posts)


def test_support_ids_have_leading_zeros_and_replies_stay_in_their_thread(sample):
    posts = [record.values for record in sample.posts("fonwisp_support")]
    thread = {values["source_id"]: values["conversation_id"] for values in posts}
    assert all(key.startswith("0") and thread[key].startswith("0") for key in thread)
    replies = [values for values in posts if values["parent_id"]]
    assert len(replies) > 300
    assert all(thread[values["parent_id"]] == values["conversation_id"] for values in replies)


def test_only_german_support_messages_lack_their_language(sample):
    """Else `default_language: de` would give an English text to the German side."""
    languages = {
        r.values["source_id"]: r.values["language"] or "de" for r in sample.posts("fonwisp_support")
    }
    expected = sample.summary.feeds["fonwisp_support"].posts_by_language
    assert Counter(languages.values()) == expected


@pytest.mark.parametrize("feed", FEEDS)
def test_addresses_and_mentions_are_invented(sample: WrittenSample, feed):
    """Nobody real must be named, linked or written to."""
    posts = [record.values for record in sample.posts(feed)]
    handles = {values["author_handle"] for values in posts}
    for values in posts:
        text = f"{values['body']} {values.get('url')}"
        for host in re.findall(r"https?://([^/\s]+)", text):
            assert host == "example.com" or host.endswith(".example")
        for address in re.findall(r"\w@([\w.-]+\w)", text):
            assert address.endswith(("example.com", "example.org", "example.net", ".example"))
        assert set(re.findall(r"(?<!\w)@(\w+)", text)) <= OWN_MENTIONS | handles
        for number in re.findall(r"\+[\d ]{8,}", text):
            assert number.startswith("+49 30 23125 ")
