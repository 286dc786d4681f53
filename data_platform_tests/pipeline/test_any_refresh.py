"""Days that change are refreshed in any order and in any groups; the tables end as after one refresh of everything."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_platform.automation.overview import read_digests
from data_platform.automation.staleness import Staleness
from data_platform.definitions import cleaning_of, scoring_of
from data_platform.errors import RuleViolationError
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.raw import load_days
from data_platform.reporting.marts import refresh_daily_sentiment, refresh_topic_sentiment
from data_platform.schemas import TOPIC_SENTIMENT
from data_platform.settings import Environment, load_settings
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import Transaction, Warehouse
from data_platform.warehouse.star import refresh_star
from data_platform_tests.examples import examples
from data_platform_tests.ingestion.conftest import COLLECTED_AT, FIRST_DAY, instant, land, post

FEEDS = ("shop", "blog")
DAYS = DaySpan(FIRST_DAY, FIRST_DAY + timedelta(days=2))
FIELDS = {"source_id": "id", "posted_at": "at", "body": "text"}
TEXTS = (
    "I love this shop",
    "Ich bin sehr enttäuscht",
    "Call me at +1 212 555 0134",
    "Everybody loves the new opening hours of this wonderful little shop downtown!",
)
STAGES = ("raw", "cleaned", "star", "scores", "daily", "topics")


class Platform:
    """A landing zone and a warehouse, whose stages can be refreshed one by one."""

    def __init__(self, folder: Path) -> None:
        blocks = [
            {"name": name, "kind": "file", "path": "incoming", "source": "shop", "fields": FIELDS}
            for name in FEEDS
        ]
        folder.mkdir()
        config = {"start_date": FIRST_DAY.isoformat(), "feeds": blocks}
        (folder / "feedback.yaml").write_text(yaml.safe_dump(config))
        settings = load_settings(Environment(data_platform_home=folder / "data"), folder)
        self.feeds = Feeds(settings)
        self.warehouse = Warehouse(settings.warehouse_path)
        self.cleaning, self.scoring = cleaning_of(settings), scoring_of(settings)
        self.staleness = Staleness(self.feeds, self.cleaning, self.scoring)

    def refresh(self, days: DaySpan, stages: Sequence[str] = STAGES) -> None:
        """Refresh these stages of the days, each as its asset does."""
        actions: dict[str, Callable[[Transaction], object]] = {
            "raw": lambda t: load_days(t, self.feeds.landing, FEEDS, days),
            "star": lambda t: refresh_star(t, days),
            "daily": lambda t: refresh_daily_sentiment(t, days),
            "topics": lambda t: refresh_topic_sentiment(t, days),
        }
        for stage in stages:
            if stage == "cleaned":
                self.cleaning.refresh_days(self.warehouse, days)
            elif stage == "scores":
                self.scoring.refresh_days(self.warehouse, days)
            else:
                with self.warehouse.transaction() as transaction:
                    actions[stage](transaction)

    def catch_up(self, random: Random) -> None:
        """Refresh the days that are out of date, in some order and groups, until none is."""
        for _ in range(5):
            stale = self.staleness.stale_days(self.warehouse)
            if not stale:
                return
            random.shuffle(stale)
            while stale:
                together = [stale.pop() for _ in range(random.randint(1, len(stale)))]
                self.refresh(DaySpan.around(together))
        pytest.fail("days stay out of date however often they are refreshed")

    def digests(self) -> dict[str, str]:
        with self.warehouse.transaction() as transaction:
            topics = transaction.digest(TOPIC_SENTIMENT)[1]
        return {**read_digests(self.warehouse), "topic_sentiment": topics}


# An observation of one of a few posts: some say the same, some change their day, text, author or feed.
POSTS = st.fixed_dictionaries(
    {"number": st.integers(1, 3), "day": st.integers(0, 2), "text": st.integers(0, 3)},
    optional={
        "feed": st.just("blog"),
        "author": st.sampled_from("ab"),
        "topic": st.just("bags"),
        "edited": st.integers(3, 5),
        "observed": st.integers(11, 12),
        "is_deleted": st.just(True),
    },
)


def as_post(told: Mapping[str, Any]) -> dict[str, Any]:
    return post(
        told["number"],
        told["day"],
        body=TEXTS[told["text"]],
        feed=told.get("feed", "shop"),
        author_id=told["author"] * 32 if "author" in told else None,
        topic=told.get("topic"),
        edited_at=instant(told["edited"]) if "edited" in told else None,
        observed_at=instant(told.get("observed", 10)),
        is_deleted=told.get("is_deleted", False),
    )


DELIVERIES = st.lists(POSTS, min_size=1, max_size=3)
GROUPS = st.tuples(st.integers(0, 2), st.integers(0, 2)).map(sorted)
STEPS = st.one_of(
    st.tuples(st.just("deliver"), DELIVERIES),
    st.tuples(st.just("deliver"), DELIVERIES),
    st.tuples(st.just("deliver again"), st.integers(0, 3), DELIVERIES),
    st.tuples(st.just("refresh"), GROUPS, st.just(STAGES)),
    st.tuples(st.just("refresh"), GROUPS, st.lists(st.sampled_from(STAGES), max_size=3)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any_refresh")


@examples(3)
@given(steps=st.lists(STEPS, min_size=2, max_size=7), random=st.randoms(use_true_random=False))
def test_any_order_and_grouping_of_refreshes_ends_in_the_same_tables(folder, steps, random):
    lived, fresh = Platform(folder / "lived"), Platform(folder / "fresh")
    try:
        lived.refresh(DAYS)
        landed: list[list[str]] = []
        for number, step in enumerate(steps):
            collected_at = COLLECTED_AT + timedelta(seconds=number)
            match step:
                case "refresh", (first, last), stages:
                    days = DaySpan(FIRST_DAY + timedelta(first), FIRST_DAY + timedelta(last))
                    # A stage whose input moved on without the one between refuses to write.
                    with suppress(RuleViolationError):
                        lived.refresh(days, stages)
                    continue
                case "deliver again", which, delivered:
                    # Read anew under another mapping: other segments take the place of the former.
                    if which < len(landed):
                        lived.feeds.landing.remove(landed[which])
                        landed[which] = []
                case _, delivered:
                    pass
            paths = []
            for feed in FEEDS:
                told = [made for made in map(as_post, delivered) if made["feed"] == feed]
                found = land(
                    lived.feeds.landing,
                    told,
                    feed=feed,
                    delivery_id=f"{number}",
                    collected_at=collected_at,
                )
                paths += [segment.path for segment in found]
            landed.append(paths)
        lived.catch_up(random)
        if lived.feeds.landing.root.exists():
            shutil.copytree(lived.feeds.landing.root, fresh.feeds.landing.root)
        fresh.refresh(DAYS)
        assert fresh.staleness.stale_days(fresh.warehouse) == []
        assert set(lived.digests().items()) ^ set(fresh.digests().items()) == set()
    finally:
        for platform in ("lived", "fresh"):
            shutil.rmtree(folder / platform)


def test_a_feed_and_an_author_without_posts_are_members_no_more(tmp_path):
    platform = Platform(tmp_path / "shop")
    told = {"number": 1, "day": 0, "text": 0, "feed": "blog", "author": "a"}
    for number, post_told in enumerate((told, {**told, "is_deleted": True, "observed": 12})):
        land(
            platform.feeds.landing,
            [as_post(post_told)],
            feed="blog",
            delivery_id=f"{number}",
            collected_at=COLLECTED_AT,
        )
        platform.refresh(DAYS)
        with platform.warehouse.transaction() as transaction:
            counts = [
                transaction.count(f"SELECT count(*) FROM {t}") for t in ("dim_feed", "dim_author")
            ]
        assert counts == [1 - number, 1 - number]
