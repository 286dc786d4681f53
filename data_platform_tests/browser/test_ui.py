"""What a person does in the Dagster UI, and what happens there without a click."""

import re

import pytest
from playwright.sync_api import Page, expect

from data_platform_tests.browser.conftest import SCREENSHOTS

pytestmark = pytest.mark.timeout(600)

CHAIN = ("raw_feedback", "cleaned_feedback", "fct_feedback", "sentiment_scores", "daily_sentiment")
WAIT_MS = 120_000
TWO_TICKS_SECONDS = 2 * 30
RUN_SECONDS = 30  # a run worker starts, and another one for the refresh


def posts(server, *days_before, first_id=1, text="I love the new shop"):
    return [
        {
            "id": str(first_id + number),
            "at": f"{server.day(before)}T10:00:00Z",
            "text": text,
            "user": f"user{number}",
        }
        for number, before in enumerate(days_before)
    ]


def launch(page: Page, days: str) -> None:
    """Materialize the whole chain for `days`, written as the dialog takes them."""
    page.goto("/locations/data_platform/jobs/refresh_job")
    page.get_by_role("button", name="Materialize all").first.click()
    dialog = page.get_by_role("dialog")
    box = dialog.get_by_role("textbox").first
    box.fill(days)
    box.press("Tab")
    dialog.get_by_role("button", name=re.compile("Launch (1 run|backfill)")).click()
    expect(dialog).to_be_hidden()


def feed_days(server, feed):
    return dict(
        server.rows(
            f"SELECT date::VARCHAR, sum(post_count)::INT FROM daily_sentiment WHERE feed = '{feed}'"
            " GROUP BY date"
        )
    )


def test_the_graph_shows_every_stage_and_asset(page):
    page.goto("/asset-groups")
    for group in ("ingestion", "cleaning", "warehouse", "sentiment", "monitoring", "reporting"):
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    for asset in (*CHAIN, "feed/shop", "sentiment_evaluation", "feedback_report"):
        page.goto(f"/assets/{asset}?view=overview")
        expect(page.get_by_role("button", name="Materialize").first).to_be_visible()
        expect(page.get_by_text("feedback", exact=True).first).to_be_visible()  # its owner
        expect(page.get_by_text("Fails if more than 30 hours").first).to_be_visible()


def test_all_sensors_are_on_and_have_ticked(page, server):
    page.goto("/automation")
    for sensor in ("new_feedback", "collect_feeds", "refresh", "stale_days", "alert"):
        expect(page.get_by_text(f"{sensor}_sensor")).to_be_visible()
    server.wait(lambda: "Daemon: running" in server.cli("status").stdout, 120)


def test_a_sensor_that_is_turned_off_is_told_until_it_is_on_again(page, server):
    def alerts():
        return server.rows(
            "SELECT severity FROM alerts WHERE kind = 'sensor_stopped' AND resolved_at IS NULL"
        )

    page.goto("/locations/data_platform/sensors/stale_days_sensor")
    switch = page.get_by_role("checkbox").first
    expect(switch).to_be_checked()
    switch.dispatch_event("click")
    expect(switch).not_to_be_checked()
    server.wait(lambda: alerts() == [("warning",)], 120)
    assert "Sensor stale_days_sensor is off" in server.cli("status").stdout
    assert "sensor stale_days_sensor: is off; turn it on" in server.cli("doctor").stdout
    switch.dispatch_event("click")
    expect(switch).to_be_checked()
    server.wait(lambda: alerts() == [], 120)


def test_one_day_of_the_whole_chain_is_materialized_by_hand(page, server):
    day = server.day(50)
    server.drop("kiosk", "by_hand.csv", posts(server, 50, 50, first_id=100))
    launch(page, str(day))
    server.wait(lambda: feed_days(server, "kiosk").get(str(day)) == 2, 150)
    page.goto("/assets/daily_sentiment?view=events")
    expect(page.get_by_text(str(day)).first).to_be_visible(timeout=WAIT_MS)


def test_three_days_are_backfilled_and_the_checks_and_freshness_are_shown(page, server):
    days = [server.day(n) for n in (40, 39, 38)]
    server.drop("kiosk", "backfill.csv", posts(server, 40, 39, 38, first_id=200))
    launch(page, f"[{days[0]}...{days[-1]}]")

    def is_done():
        return {str(day) for day in days} <= feed_days(server, "kiosk").keys()

    server.wait(is_done, 150)
    page.goto("/assets/daily_sentiment?view=checks")
    page.get_by_text("volume_is_usual").first.click()
    expect(page.get_by_text("Passed").first).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("highest_ratio").first).to_be_visible()
    expect(page.get_by_text("Plots", exact=True).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible(timeout=WAIT_MS)
    page.goto("/assets/daily_sentiment?view=overview")
    expect(page.get_by_text("Passing", exact=True).first).to_be_visible(timeout=WAIT_MS)
    page.screenshot(path=SCREENSHOTS / "freshness.png")


def test_a_dropped_file_changes_daily_sentiment_without_a_click(page, server):
    day = str(server.day(20))
    server.drop("shop", "a.csv", posts(server, 20))
    limit = 2 * (TWO_TICKS_SECONDS + RUN_SECONDS)  # the machine of a test has other work
    first = server.wait(lambda: feed_days(server, "shop").get(day) == 1, limit)
    server.drop("shop", "b.csv", posts(server, 20, 20, first_id=50, text="It broke, I hate it"))
    second = server.wait(lambda: feed_days(server, "shop").get(day) == 3, limit)
    print(f"daily_sentiment followed a dropped file after {first:.0f} s and {second:.0f} s")  # noqa: T201
    server.wait(
        lambda: (
            server.published(
                f"SELECT sum(negative_count)::INT FROM daily_sentiment WHERE date = '{day}' AND feed = 'shop'"
            )
            == [(2,)]
        ),
        180,
    )
    page.goto("/assets/daily_sentiment?view=events")
    expect(page.get_by_text(day).first).to_be_visible(timeout=WAIT_MS)


def test_a_broken_file_turns_its_feed_red_and_says_what_to_do(page, server):
    path = server.folder / "forum" / "broken.csv"
    path.write_text("<html>no such page</html>\n", encoding="utf-8")

    def alerts():
        return server.rows(
            "SELECT evidence FROM alerts WHERE kind = 'open_gap' AND resolved_at IS NULL"
            " AND contains(subject, 'broken.csv')"
        )

    server.wait(lambda: len(alerts()) == 1, 180)
    assert "Replace it, give it the suffix of what it is" in alerts()[0][0]
    page.goto("/assets/feed/forum?view=checks")
    page.get_by_text("every_delivery_was_read").first.click()
    expect(page.get_by_text("Failed").first).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("an HTML or XML page").first).to_be_visible()
    status = server.cli("status")
    assert status.returncode == 1
    assert "broken.csv" in status.stdout
    page.screenshot(path=SCREENSHOTS / "a_broken_file.png")
    path.unlink()
    server.drop("forum", "mended.csv", posts(server, 10, first_id=300))
    server.wait(lambda: feed_days(server, "forum").get(str(server.day(10))) == 1, 180)
    server.wait(lambda: alerts() == [], 120)
