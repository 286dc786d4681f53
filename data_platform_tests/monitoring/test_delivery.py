"""Each message once: never twice, never lost, and when people want it."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from data_platform.monitoring.alerts import Recovery, dismiss_alert, snooze_alert
from data_platform.storage.warehouse import Trouble
from data_platform_tests.ingestion.platforms.server import status
from data_platform_tests.monitoring.conftest import DAY, FAILED, UNUSUAL, Alerts, hook

NIGHT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
MORNING = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
WELL = Recovery("run_failed", "raw_feedback", DAY, DAY)
GAP = Trouble("open_gap", "feed/shop: a.csv", "no header")


def go(clock, **length):
    clock.shift(timedelta(**length))


def test_a_message_is_sent_once_and_signed(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    platform.look(FAILED)
    assert platform.deliver().sent_count == 1
    assert sink.told == [("opened", "raw_feedback")]
    assert sink.is_signed()
    again = Alerts(platform.warehouse, channels=[hook(sink)])  # as after a restart
    again.look(FAILED)
    assert again.deliver().sent_count == 0
    assert len(sink.requests) == 1


def test_without_channels_the_log_is_told(alerts, caplog):
    platform = alerts()
    platform.look(FAILED, UNUSUAL)
    platform.deliver()
    told = [r for r in caplog.records if r.name == "data_platform.alerts"]
    assert sorted(r.levelname for r in told) == ["ERROR", "WARNING"]
    assert any("run_failed: raw_feedback of 2026-02-01: disk full" in r.getMessage() for r in told)


@pytest.mark.parametrize("trouble", ["refused", "no connection", "redirected"])
def test_what_a_channel_does_not_take_is_sent_once_when_it_does(alerts, sink, trouble):
    with time_machine.travel(NIGHT, tick=False) as clock:
        platform = alerts(channels=[hook(sink)])
        platform.look(FAILED)
        if trouble == "refused":
            sink.fault = status(503)
        elif trouble == "redirected":
            sink.fault = status(302, Location=f"{sink.url}/elsewhere")
        else:
            platform = alerts(channels=[hook(sink, url="http://127.0.0.1:9/in")])
        assert platform.deliver().failures
        assert not platform.deliver().failures  # it waits for a minute
        go(clock, seconds=61)
        assert platform.deliver().failures
        [(count, error, sent_at)] = platform.rows(
            "SELECT attempt_count, last_error, sent_at FROM notifications"
        )
        assert (count, sent_at) == (2, None)
        assert error in ("it answered HTTP 503", "it answered HTTP 302") or "ConnectError" in error
        sink.fault = None
        refused = len(sink.requests)
        platform = alerts(channels=[hook(sink)])
        assert platform.deliver().sent_count == 0
        go(clock, minutes=2)
        assert platform.deliver().sent_count == 1
        go(clock, days=1)
        assert platform.deliver().sent_count == 0
        assert len(sink.requests) == refused + 1
        assert len(set(sink.keys)) == 1


def test_attempts_go_on_every_hour_and_people_hear_of_it_elsewhere(alerts, sink, caplog):
    from data_platform.monitoring.notifications import failing_channels

    platform = alerts(channels=[hook(sink)], escalate_after=None)
    sink.fault = status(500)

    def look():
        with platform.warehouse.transaction() as transaction:
            present = failing_channels(transaction, platform.options)
        platform.look(present=present, kinds=["channel_failed"])

    with time_machine.travel(NIGHT, tick=False) as clock:
        platform.look(FAILED)
        for minutes in [1] * 35 + [60] * 23:
            platform.deliver()
            look()
            go(clock, minutes=minutes)
        assert len(sink.requests) == 6 + 22  # after 0, 1, 3, 7, 15, 31 minutes, then hourly
        told = [r.getMessage() for r in caplog.records if "channel_failed" in r.getMessage()]
        assert len(told) == 1
        assert "5 attempts failed: it answered HTTP 500" in told[0]
        sink.fault = None
        go(clock, hours=1)
        assert platform.deliver().sent_count == 1
        look()
        platform.deliver()
        assert platform.rows(
            "SELECT DISTINCT status FROM alerts WHERE kind = 'channel_failed'"
        ) == [("resolved",)]
        assert sink.told[-1] == ("opened", "raw_feedback")


def test_what_waits_for_a_channel_that_was_removed_is_told_and_kept(alerts, sink):
    from data_platform.monitoring.notifications import failing_channels

    alerts(channels=[hook(sink)]).look(FAILED)
    without = alerts()
    assert without.deliver().sent_count == 0
    with without.warehouse.transaction() as transaction:
        (trouble,) = failing_channels(transaction, without.options)
    assert (trouble.kind, trouble.subject) == ("channel_failed", "hook")
    assert "not in feedback.yaml any more" in trouble.evidence
    assert alerts(channels=[hook(sink)]).deliver().sent_count == 1


def test_one_message_that_is_refused_holds_up_no_other(alerts, sink):
    with time_machine.travel(NIGHT, tick=False) as clock:
        platform = alerts(channels=[hook(sink)])
        platform.look(FAILED)
        sink.fault = lambda request, reply: (
            status(400)(request, reply) if b"raw_feedback" in request.body else reply
        )
        platform.deliver()
        go(clock, seconds=61)
        platform.look(UNUSUAL)
        platform.deliver()
        [(kind,)] = platform.rows(
            "SELECT kind FROM alerts JOIN notifications USING (alert_id) WHERE sent_at IS NOT NULL"
        )
        assert kind == "check_failed"


def test_messages_that_are_tried_again_together_stay_apart(alerts, sink):
    with time_machine.travel(NIGHT, tick=False) as clock:
        platform = alerts(channels=[hook(sink)])
        platform.look(FAILED, UNUSUAL)
        sink.faults = [status(503), status(503)]
        for _ in range(2):
            assert platform.deliver().failures
        go(clock, minutes=2)
        assert platform.deliver().sent_count == 2
    first, second, *again = sink.keys
    assert first != second
    assert sorted(again) == sorted([first, second])


def test_a_later_event_waits_for_an_earlier_one_of_the_same_alert(alerts, sink):
    with time_machine.travel(NIGHT, tick=False) as clock:
        platform = alerts(channels=[hook(sink)])
        platform.look(FAILED)
        sink.faults = [status(503)]
        platform.deliver()
        platform.look(WELL)
        assert platform.deliver().sent_count == 0
        go(clock, seconds=61)
        assert platform.deliver().sent_count == 2
        assert [event for event, _ in sink.told] == ["opened", "opened", "resolved"]


def test_who_was_told_of_a_trouble_is_told_of_its_end_and_nobody_else(alerts, sink, other_sink):
    channels = [hook(sink), hook(other_sink, "other")]
    platform = alerts(channels=channels, rules=[{"to": ["hook"]}])
    platform.look(FAILED)
    platform.deliver()
    platform = alerts(channels=channels, rules=[{"to": ["hook", "other"]}])
    platform.look(WELL)
    platform.deliver()
    assert [event for event, _ in sink.told] == ["opened", "resolved"]
    assert other_sink.told == []


def test_the_first_rule_that_fits_decides(alerts, sink, other_sink, caplog):
    rules = [
        {"kinds": ["open_gap"], "feeds": ["shop"], "to": ["hook"]},
        {"kinds": ["run_failed", "open_gap"], "least": "error", "to": ["other"]},
        {"kinds": ["check_failed"], "to": []},
    ]
    platform = alerts(channels=[hook(sink), hook(other_sink, "other")], rules=rules)
    elsewhere = Trouble("open_gap", "feed/store: a.csv", "no header")
    lost = Trouble("sensor_stopped", "refresh_sensor", "off", severity="warning")
    platform.look(FAILED, UNUSUAL, GAP, elsewhere, lost)
    platform.deliver()
    assert sink.told == [("opened", "feed/shop: a[.]csv")]
    assert sorted(other_sink.told) == [
        ("opened", "feed/store: a[.]csv"),
        ("opened", "raw_feedback"),
    ]
    (line,) = [r.getMessage() for r in caplog.records if r.name == "data_platform.alerts"]
    assert "refresh_sensor" in line


QUIET = {"begin": "22:00", "end": "07:00"}


def test_quiet_hours_hold_messages_back_and_join_what_happened(alerts, sink):
    platform = alerts(channels=[hook(sink)], rules=[{"to": ["hook"], "quiet_hours": QUIET}])
    with time_machine.travel(NIGHT, tick=False) as clock:
        platform.look(FAILED, UNUSUAL)
        go(clock, hours=1)
        platform.look(WELL)
        assert platform.deliver().sent_count == 0
        clock.move_to(MORNING - timedelta(seconds=1))
        assert platform.deliver().sent_count == 0
        clock.move_to(MORNING)
        assert platform.deliver().sent_count == 2
    assert sorted(sink.told) == [
        ("opened", "daily_sentiment: volume_is_usual"),
        ("resolved", "raw_feedback"),
    ]


def test_errors_break_quiet_hours_if_the_rule_says_so(alerts, sink):
    quiet = {**QUIET, "errors_pass": True}
    rules = [{"kinds": ["check_failed"], "to": ["hook"], "quiet_hours": quiet, "severity": "error"}]
    rules += [{"to": ["hook"], "quiet_hours": quiet}]
    platform = alerts(channels=[hook(sink)], rules=rules)
    stopped = Trouble("sensor_stopped", "refresh_sensor", "off", severity="warning")
    with time_machine.travel(NIGHT, tick=False):
        platform.look(FAILED, UNUSUAL, stopped)
        platform.deliver()
    assert sorted(subject for _, subject in sink.told) == [UNUSUAL.subject, "raw_feedback"]
    assert {message["severity"] for message in sink.taken} == {"error"}


def test_a_digest_tells_a_day_in_one_message(alerts, sink):
    platform = alerts(channels=[hook(sink)], rules=[{"to": ["hook"], "digest_at": "07:00"}])
    with time_machine.travel(NIGHT, tick=False) as clock:
        platform.look(FAILED)
        go(clock, hours=2)
        platform.look(UNUSUAL)
        assert platform.deliver().sent_count == 0
        clock.move_to(MORNING)
        assert platform.deliver().sent_count == 1
        assert platform.deliver().sent_count == 0
        (message,) = sink.taken
        assert message["title"] == "2 alerts, 2 opened"
        assert [a["kind"] for a in message["alerts"]] == ["run_failed", "check_failed"]
        clock.move_to(MORNING + timedelta(days=1))
        assert platform.deliver().sent_count == 0  # nothing to tell: no empty digest


def test_many_at_once_are_told_together(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    days = [DAY + timedelta(days=n) for n in range(30)]
    platform.look(*(Trouble("run_failed", "raw_feedback", "disk full", day) for day in days))
    assert platform.deliver().sent_count == 1
    (message,) = sink.taken
    assert message["title"] == "30 alerts, 30 opened"
    assert len(message["alerts"]) + len(message["further"]) == 30


def test_an_error_that_stays_open_escalates_once_to_further_people(alerts, sink, other_sink):
    rules = [{"to": ["hook"], "escalate_to": ["boss"]}]
    platform = alerts(channels=[hook(sink), hook(other_sink, "boss")], rules=rules)
    with time_machine.travel(NIGHT, tick=False) as clock:
        platform.look(FAILED, UNUSUAL)
        platform.deliver()
        go(clock, hours=3, minutes=59)
        platform.look()
        assert platform.deliver().sent_count == 0
        go(clock, minutes=1)
        for _ in range(3):
            platform.look()
            platform.deliver()
            go(clock, hours=5)
        platform.look(WELL)
        platform.deliver()
    assert [e for e, s in sink.told if s == "raw_feedback"] == ["opened", "escalated", "resolved"]
    assert [e for e, s in sink.told if s == UNUSUAL.subject] == ["opened"]
    assert [e for e, _ in other_sink.told] == ["escalated", "resolved"]


def test_what_has_doubled_escalates(alerts, sink):
    platform = alerts(channels=[hook(sink)])

    def look(size):
        grows = Trouble("incident", "feed/shop all post_count", f"{size}", DAY, "warning", size)
        platform.look(present=[grows], kinds=["incident"])
        platform.deliver()

    for size in (10.0, 19.0, 20.0, 50.0):
        look(size)
    assert [event for event, _ in sink.told] == ["opened", "escalated"]


def test_a_snoozed_alert_is_told_again_when_its_time_is_over(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    with time_machine.travel(NIGHT, tick=False) as clock:
        platform.look(FAILED)
        platform.deliver()
        [(alert_id,)] = platform.rows("SELECT alert_id FROM alerts")
        with platform.warehouse.transaction() as transaction:
            snooze_alert(transaction, alert_id[:6], NIGHT + timedelta(days=2))
        for hours in (1, 5, 41):
            go(clock, hours=hours)
            platform.look(FAILED)
            assert platform.deliver().sent_count == 0
        go(clock, hours=1)
        platform.look()
        platform.deliver()
        platform.look()
        platform.deliver()
        assert [event for event, _ in sink.told][:2] == ["opened", "reopened"]


def test_the_end_of_a_snoozed_alert_is_told(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    platform.look(FAILED)
    platform.deliver()
    [(alert_id,)] = platform.rows("SELECT alert_id FROM alerts")
    with platform.warehouse.transaction() as transaction:
        snooze_alert(transaction, alert_id, datetime.now(UTC) + timedelta(days=2))
    platform.look(WELL)
    platform.deliver()
    assert [event for event, _ in sink.told] == ["opened", "resolved"]


def test_what_a_person_resolved_is_not_raised_again_before_it_was_gone(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    platform.look(present=[GAP], kinds=["open_gap"])
    [(alert_id,)] = platform.rows("SELECT alert_id FROM alerts")
    with platform.warehouse.transaction() as transaction:
        dismiss_alert(transaction, alert_id, datetime.now(UTC))
    for _ in range(3):
        assert platform.look(present=[GAP], kinds=["open_gap"]).open_count == 0
    assert platform.rows("SELECT status FROM alerts") == [("resolved",)]
    platform.look(kinds=["open_gap"])
    assert platform.look(present=[GAP], kinds=["open_gap"]).open_count == 1


def test_an_alert_that_was_over_before_anybody_heard_of_it_is_told_as_over(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    platform.look(FAILED, WELL)
    platform.deliver()
    assert sink.told == [("resolved", "raw_feedback")]


SENDER = """
    import sys
    from pathlib import Path
    from data_platform.storage.warehouse import Warehouse
    from data_platform_tests.monitoring.conftest import Alerts

    secret = {"env": "HOOK_SECRET"}
    hook = {"name": "hook", "kind": "webhook", "url": sys.argv[2], "secret": secret}
    print(Alerts(Warehouse(Path(sys.argv[1])), channels=[hook]).deliver().sent_count)
"""


def start_sender(platform, sink):
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(SENDER)]
    return subprocess.Popen(
        [*command, str(platform.warehouse.database), f"{sink.url}/in"], stdout=subprocess.DEVNULL
    )


def test_a_message_that_was_taken_but_not_noted_goes_out_again_with_the_same_id(alerts, sink):
    """kill -9 in the only moment that no transaction can close."""
    platform = alerts(channels=[hook(sink)])
    platform.look(FAILED)
    started = threading.Event()

    def kill_the_sender(_, reply):
        assert started.wait(60)
        os.kill(sender.pid, signal.SIGKILL)
        return reply

    sink.faults = [kill_the_sender]
    sender = start_sender(platform, sink)
    started.set()
    assert sender.wait(60) == -signal.SIGKILL
    assert platform.rows("SELECT sent_at FROM notifications") == [(None,)]
    platform.look(UNUSUAL)
    assert platform.deliver().sent_count == 2
    assert platform.deliver().sent_count == 0
    first, *others = sink.keys
    assert sorted(others).count(first) == 1
    assert len(set(sink.keys)) == 2


def test_processes_that_deliver_at_once_send_each_message_once(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    platform.look(FAILED, UNUSUAL)

    def slowly(_, reply):
        time.sleep(1)
        return reply

    sink.fault = slowly
    senders = [start_sender(platform, sink) for _ in range(3)]
    codes = [sender.wait(60) for sender in senders]
    assert 0 in codes
    assert set(codes) <= {0, 1}  # 1: another process delivers
    assert len(sink.requests) == len(set(sink.keys)) == 2


def test_the_warehouse_is_free_while_a_message_is_sent(alerts, sink):
    platform = alerts(channels=[hook(sink)])
    platform.look(FAILED)
    seen = []

    def look_inside(_, reply):
        seen.append(platform.rows("SELECT count(*) FROM alerts"))
        return reply

    sink.fault = look_inside
    platform.deliver()
    assert seen == [[(1,)]]


def test_a_variable_that_is_not_set_is_told_and_nothing_is_lost(alerts, sink, monkeypatch, caplog):
    platform = alerts(channels=[hook(sink)])
    platform.look(FAILED)
    monkeypatch.delenv("HOOK_SECRET")
    with caplog.at_level(logging.WARNING):
        failures = platform.deliver().failures
    assert "The environment variable HOOK_SECRET is not set" in failures["hook"]
    assert "HOOK_SECRET" in caplog.text
