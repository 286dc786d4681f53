"""The refresh: the days that changed and no other, nothing for what did not change, and no storms."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from data_platform_tests.automation.conftest import feed

DAILY = [
    "raw_feedback",
    "cleaned_feedback",
    "fct_feedback",
    "dim_feed",
    "dim_author",
    "dim_date",
    "sentiment_scores",
    "daily_sentiment",
]
FIRST = [
    "1,2026-02-01T10:00:00Z,I love it,",
    "2,2026-02-03T10:00:00Z,I hate it,",
    "3,2026-02-03T11:00:00Z,The parcel came,",
]


class Ticks:
    """Evaluates the conditions again and again, as the daemon does: a minute apart, from noon on."""

    def __init__(self, platform):
        self.platform, self.cursor = platform, None
        self.at = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        self.requested_at_first = self.tick()

    def tick(self):
        """Return what is requested: asset name to days ('' for one without days)."""
        self.at += timedelta(minutes=1)
        result = dg.evaluate_automation_conditions(
            defs=self.platform.definitions,
            instance=self.platform.instance,
            cursor=self.cursor,
            evaluation_time=self.at,
        )
        self.cursor = result.cursor
        return {
            found.key.to_user_string(): {
                part.partition_key or ""
                for part in found.true_subset.expensively_compute_asset_partitions()
            }
            for found in result.results
            if not found.true_subset.is_empty
        }

    def refresh(self, first, last):
        """Run what a tick requested for a range of days."""
        keys = [dg.AssetKey(name) for name in DAILY]
        assert self.platform.run("refresh_job", days=(first, last), keys=keys).success


@pytest.fixture
def ticks(live):
    platform = live()
    ticks = Ticks(platform)
    platform.write("shop/a.csv", *FIRST)
    platform.collect("shop")
    return ticks


def today(ticks):
    return ticks.platform.feeds.open_days.last.isoformat()


def test_a_collection_refreshes_its_days_and_today_through_the_whole_chain(ticks):
    requested = ticks.tick()
    days = {"2026-02-01", "2026-02-03", today(ticks)}
    assert {name: requested[name] for name in DAILY} == dict.fromkeys(DAILY, days)
    assert requested["quarantined_feedback"] == {""}
    assert ticks.tick().keys() & set(DAILY) == set()


def test_one_changed_old_day_refreshes_that_day_and_no_other(ticks):
    ticks.tick()
    ticks.refresh("2026-02-01", "2026-02-03")
    ticks.refresh(today(ticks), today(ticks))
    ticks.tick()
    ticks.platform.write("shop/b.csv", "4,2026-02-03T12:00:00Z,Late but lovely,")
    ticks.platform.collect("shop")
    requested = ticks.tick()
    assert {requested[name] == {"2026-02-03"} for name in DAILY} == {True}


def test_a_materialization_that_changed_nothing_starts_nothing(ticks):
    ticks.tick()
    for day in ("2026-02-01", "2026-02-03", today(ticks)):
        ticks.refresh(day, day)
    ticks.tick()
    raw = [dg.AssetKey("raw_feedback")]
    assert ticks.platform.run("refresh_job", days=("2026-02-01", "2026-02-01"), keys=raw).success
    ticks.platform.collect("shop")
    assert ticks.tick().keys() & set(DAILY) == set()


def test_a_range_that_changed_nothing_starts_nothing(ticks):
    """A range logs each day's own event behind Dagster's closing result, which has another version."""
    ticks.tick()
    ticks.refresh("2026-02-01", "2026-02-04")
    ticks.refresh(today(ticks), today(ticks))
    ticks.tick()
    raw = [dg.AssetKey("raw_feedback")]
    assert ticks.platform.run("refresh_job", days=("2026-02-01", "2026-02-04"), keys=raw).success
    assert ticks.tick().keys() & set(DAILY) == set()


def test_a_change_between_a_request_and_the_next_look_is_not_forgotten(ticks):
    """The file lands when the days were just requested: their run may have read without it."""
    assert "2026-02-03" in ticks.tick()["raw_feedback"]
    ticks.platform.write("shop/b.csv", "4,2026-02-03T12:00:00Z,Late but lovely,")
    ticks.platform.collect("shop")
    assert ticks.tick()["raw_feedback"] == {"2026-02-03"}


def test_a_change_while_another_run_writes_the_day_is_not_forgotten(ticks):
    """The run loaded the day, then a file landed, then the run logged what it had loaded."""
    ticks.tick()
    ticks.platform.write("shop/b.csv", "4,2026-02-03T12:00:00Z,Late but lovely,")
    ticks.platform.collect("shop")
    ticks.refresh("2026-02-03", "2026-02-03")
    assert ticks.tick()["raw_feedback"] == {"2026-02-03"}
    ticks.refresh("2026-02-03", "2026-02-03")
    assert "raw_feedback" not in ticks.tick()


def test_what_was_refreshed_before_the_first_look_is_left_alone(live):
    platform = live()
    platform.write("shop/a.csv", *FIRST)
    platform.collect("shop")
    keys = [dg.AssetKey(name) for name in DAILY]
    assert platform.run("refresh_job", days=("2026-02-01", "2026-02-03"), keys=keys).success
    ticks = Ticks(platform)
    assert ticks.tick().keys() & set(DAILY) == set()


def test_what_covers_all_days_is_made_once_even_if_all_came_before_the_first_look(live):
    """A first run of the command line that was killed after it had collected."""
    platform = live()
    platform.write("shop/a.csv", *FIRST)
    platform.collect("shop")
    ticks = Ticks(platform)
    whole = {"quarantined_feedback", "source_health", "feedback_snapshot", "feedback_report"}
    assert whole <= ticks.requested_at_first.keys()
    assert platform.run("publish_job").success
    assert "quarantined_feedback" not in ticks.tick()


def test_a_day_that_one_feed_alone_has_is_refreshed(live):
    platform = live(feed("shop"), feed("silent"))
    ticks = Ticks(platform)
    platform.write("shop/a.csv", *FIRST)
    platform.collect("shop")
    assert ticks.tick()["daily_sentiment"] >= {"2026-02-01", "2026-02-03"}


def test_a_logged_day_without_a_run_counts_too(ticks):
    ticks.tick()
    ticks.refresh("2026-02-01", "2026-02-03")
    ticks.tick()
    feeds = ticks.platform.feeds
    ticks.platform.write("shop/b.csv", "4,2026-02-03T12:00:00Z,Late,")
    feeds.collect("shop")
    for version in (feeds.version("shop", date(2026, 2, 3)),) * 2:
        ticks.platform.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                ["feed", "shop"],
                partition="2026-02-03",
                tags={
                    "dagster/data_version": version,
                    "dagster/data_version_is_user_provided": "true",
                },
            )
        )
        requested = ticks.tick().get("raw_feedback", set())
        assert requested in ({"2026-02-03"}, set())
    assert requested == set()


def test_many_days_are_one_request_and_wait_while_they_are_being_refreshed(live):
    platform = live(start_date="2025-01-01")
    ticks = Ticks(platform)
    first = date(2025, 1, 5)
    days = [(first + timedelta(days=n)).isoformat() for n in range(400)]
    platform.write("shop/a.csv", *[f"{n},{day}T10:00:00Z,fine," for n, day in enumerate(days)])
    platform.collect("shop")
    assert ticks.tick()["daily_sentiment"] >= set(days)
    assert ticks.tick().keys() & set(DAILY) == set()


def test_what_covers_all_days_follows_changes_and_comes_to_rest(ticks):
    """A change is followed within four minutes; after that, nothing is made again for nothing."""
    ticks.tick()
    ticks.refresh("2026-02-01", "2026-02-03")
    ticks.refresh(today(ticks), today(ticks))
    requested = set()
    for _ in range(4):
        found = ticks.tick().keys() - set(DAILY)
        requested |= found
        if found:
            assert ticks.platform.run("publish_job").success
    whole = {"source_health", "sentiment_evaluation", "feedback_snapshot", "feedback_report"}
    assert requested >= whole
    assert [ticks.tick() for _ in range(3)] == [{}] * 3
    raw = [dg.AssetKey("raw_feedback")]
    assert ticks.platform.run("refresh_job", days=("2026-02-01", "2026-02-01"), keys=raw).success
    assert [ticks.tick() for _ in range(3)] == [{}] * 3


def test_exports_follow_each_new_snapshot_and_come_to_rest(live):
    ticks = Ticks(live(exports=[{"table": "feedback"}]))
    ticks.platform.write("shop/a.csv", *FIRST)
    ticks.platform.collect("shop")
    ticks.refresh("2026-02-01", "2026-02-03")
    assert ticks.platform.run("publish_job").success
    ticks.tick()
    snapshot = [dg.AssetKey("feedback_snapshot")]
    assert ticks.platform.run("publish_job", keys=snapshot).success
    assert ticks.tick()["feedback_export"] == {""}
    assert ticks.platform.run("publish_job").success
    for _ in range(3):
        ticks.tick()
    assert [ticks.tick() for _ in range(2)] == [{}] * 2


def test_every_asset_has_a_freshness_policy_and_only_feeds_have_no_condition(live):
    graph = live().definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.freshness_policy is not None, key
        assert (node.automation_condition is None) == (key.path[0] == "feed"), key


def test_errors_of_a_feed_reach_the_health_of_the_sources(ticks):
    ticks.tick()
    ticks.platform.run("publish_job")
    ticks.tick()
    (ticks.platform.settings.base / "shop" / "b.csv").write_text("nonsense")
    ticks.platform.collect("shop")
    assert ticks.tick()["source_health"] == {""}
