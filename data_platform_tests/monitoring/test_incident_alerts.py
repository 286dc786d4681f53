"""Incidents become alerts: one each, that ends with it, and none that wakes people for history."""

from datetime import date, timedelta

import pytest

from data_platform.monitoring.incident_alerts import read_incidents
from data_platform.schemas import INCIDENTS
from data_platform_tests.monitoring.conftest import hook
from data_platform_tests.reporting.conftest import insert

TODAY = date(2026, 3, 10)
BASE = {
    "incident_id": "i",
    "feed": "shop",
    "topic": "all",
    "measure": "negative_share",
    "direction": "up",
    "observed": 0.6,
    "expected": 0.1,
    "score": 6.0,
    "post_count": 200,
}


def days(first, last=None):
    dates = {"first_date": first, "last_date": last or first, "peak_date": first}
    return {name: TODAY - timedelta(days=back) for name, back in dates.items()}


@pytest.fixture
def platform(alerts, sink):
    made = alerts(channels=[hook(sink)])

    def look(*incidents):
        """Let the incidents be these, look, and return status, severity and day of the alerts."""
        with made.warehouse.transaction() as transaction:
            transaction.connection.execute("DELETE FROM incidents")
            for changes in incidents:
                insert(transaction, INCIDENTS, {**BASE, **changes})
            found = read_incidents(transaction, TODAY, 14)
        made.look(*found.past, present=found.current, kinds=["incident"])
        made.deliver()
        return made.rows("SELECT status, severity, day FROM alerts ORDER BY raised_at, day")

    look.sink = sink
    return look


def test_an_incident_is_told_once_and_ends_when_it_is_over(platform):
    began = TODAY - timedelta(days=2)
    for last in (2, 1, 0):
        assert platform(days(2, last)) == [("open", "error", began)]
    for _ in range(2):
        assert platform({**days(2, 0), "is_over": True}) == [("resolved", "error", began)]
    assert [event for event, _ in platform.sink.told] == ["opened", "resolved"]


def test_an_incident_whose_begin_moves_is_the_same(platform):
    platform(days(3, 2))
    platform(days(4, 2))
    assert platform(days(2, 1)) == [("open", "error", TODAY - timedelta(days=3))]


def test_the_next_incident_of_a_series_is_another(platform):
    platform({**days(6, 5), "is_over": True})
    found = platform({**days(6, 5), "is_over": True}, {**days(2, 1), "incident_id": "j"})
    assert [(status, day) for status, _, day in found] == [
        ("resolved", TODAY - timedelta(days=6)),
        ("open", TODAY - timedelta(days=2)),
    ]


def test_an_incident_that_was_over_when_it_was_found_is_told_once_as_a_warning(platform):
    for _ in range(3):
        assert [row[:2] for row in platform({**days(5, 4), "is_over": True})] == [
            ("resolved", "warning")
        ]
    assert [event for event, _ in platform.sink.told] == ["resolved"]


def test_history_wakes_nobody_and_stays_open_for_nobody(platform):
    """A first backfill: nothing follows the last incident that could end it."""
    long_ago = {**days(4000, 3999), "is_over": False}
    for _ in range(3):
        assert [row[:2] for row in platform(long_ago)] == [("resolved", "warning")]
    assert len(platform.sink.taken) == 1
    assert "2015-03-28 to 2015-03-29" in platform.sink.taken[0]["alerts"][0]["evidence"]


@pytest.mark.parametrize(
    ("measure", "direction", "severity"),
    [
        ("negative_share", "up", "error"),
        ("negative_share", "down", "warning"),
        ("post_count", "up", "warning"),
        ("post_count", "down", "warning"),
    ],
)
def test_only_more_negative_posts_are_an_error(platform, measure, direction, severity):
    [row] = platform({**days(1), "measure": measure, "direction": direction})
    assert row[1] == severity


def test_an_incident_that_grows_strongly_escalates(platform):
    platform({**days(1), "observed": 0.3})
    assert platform({**days(1), "observed": 0.45})[0][0] == "open"
    assert platform({**days(1), "observed": 0.5})[0][0] == "escalated"


def test_a_topic_of_customers_stays_on_one_line(platform):
    platform({**days(1), "topic": "a\x1b[31m\n\u202eb" + "c" * 300})
    (subject,) = {subject for _, subject in platform.sink.told}
    assert subject.isprintable()
    assert len(subject) < 150
