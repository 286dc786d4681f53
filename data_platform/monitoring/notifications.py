"""The outbox: who is to be told of which change of an alert, when, and what became of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from data_platform.alert_settings import LOG, AlertOptions
from data_platform.monitoring.alerts import CHANNEL_FAILED, feed_of
from data_platform.schemas import NOTIFICATIONS
from data_platform.storage.warehouse import Transaction, Trouble

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
# After so many attempts (31 minutes) people are told by another channel.
FAILED_ATTEMPTS = 5
# From so many alerts on that wait for one channel they are told in one message.
FLOOD = 6
_DUE = """
    SELECT n.notification_id, n.alert_id, n.event, n.channel, n.is_digest, n.message_id,
        n.created_at
    FROM notifications n
    WHERE n.sent_at IS NULL AND n.send_after <= ? AND list_contains(?, n.channel) AND NOT EXISTS (
        FROM notifications e WHERE e.sent_at IS NULL AND e.alert_id = n.alert_id
        AND e.channel = n.channel AND e.message_id <> coalesce(n.message_id, '')
    ) ORDER BY n.attempt_count, n.created_at, n.notification_id
"""
_EVENTS: Mapping[tuple[str | None, str], str] = {
    (None, "open"): "opened",
    (None, "escalated"): "escalated",
    ("open", "escalated"): "escalated",
    ("snoozed", "open"): "reopened",
    ("snoozed", "escalated"): "reopened",
    (None, "resolved"): "resolved",
    ("open", "resolved"): "resolved",
    ("escalated", "resolved"): "resolved",
    ("snoozed", "resolved"): "resolved",
}


@dataclass(frozen=True)
class Parcel:
    """Notifications of one channel that go out as one message.

    Attributes:
        message_id: the same at each attempt; the channel may use it to drop a repetition.
        events: alert id to its latest event that is told.
        is_together: a digest, or so many at once that they are told together.
    """

    channel: str
    message_id: str
    events: Mapping[str, str]
    is_together: bool


def enqueue(transaction: Transaction, options: AlertOptions, now: datetime) -> int:
    """Write a notification for each change of an alert since the last call; return how many.

    It belongs in the transaction that changed the alerts. Who was told of a trouble is told of its
    end; of an alert that is told for the first time when it is over, whom the rules name.
    """
    changed = transaction.connection.execute(
        "SELECT alert_id, kind, subject, severity, status, told_status FROM alerts"
        " WHERE status IS DISTINCT FROM told_status ORDER BY raised_at, alert_id"
    ).fetchall()
    rows = []
    for alert_id, kind, subject, severity, status, told_status in changed:
        event = _EVENTS.get((told_status, status))
        if event is None:
            continue  # a person snoozed it
        rule = options.rule_for(kind, feed_of(subject), severity)
        channels = set(rule.to)
        if event == "resolved" and told_status is not None:
            channels = _told(transaction, alert_id) & set(options.by_name)
        elif status == "escalated":
            channels |= set(rule.escalate_to)
        if kind == CHANNEL_FAILED and subject in channels:
            channels = channels - {subject} or {LOG}
        send_after = rule.send_after(now, rule.severity or severity)
        for channel in sorted(channels):
            place = f"{alert_id}|{event}|{now.isoformat()}|{channel}"
            rows.append(
                [
                    sha256(place.encode()).hexdigest(),
                    alert_id,
                    event,
                    channel,
                    now,
                    send_after,
                    rule.digest_at is not None,
                ]
            )
    for row in rows:
        transaction.connection.execute(
            f"INSERT INTO {NOTIFICATIONS.name} VALUES (?, ?, ?, ?, ?, ?, ?, NULL, 0, NULL, NULL)",
            row,
        )
    if changed:
        transaction.connection.execute(
            "UPDATE alerts SET told_status = status WHERE status IS DISTINCT FROM told_status"
        )
    return len(rows)


def next_parcel(
    transaction: Transaction, channels: Collection[str], now: datetime
) -> Parcel | None:
    """Return what is to be sent next by one of `channels`; None if nothing is due.

    An alert's events go out in their order: while a message about it is tried again, later ones
    wait. What was never tried of one alert goes out as one message, and so do digests and floods.
    """
    due = transaction.connection.execute(_DUE, [now, sorted(channels)]).fetchall()
    if not due:
        return None
    _, alert_id, _, channel, is_digest, message_id, _ = due[0]
    if message_id is not None:
        chosen = [row for row in due if row[5] == message_id]
    else:
        alike = [r for r in due if r[3] == channel and r[5] is None and r[4] == is_digest]
        is_flood = len({row[1] for row in alike}) >= FLOOD
        chosen = alike if is_digest or is_flood else [r for r in alike if r[1] == alert_id]
        message_id = sha256("|".join(sorted(row[0] for row in chosen)).encode()).hexdigest()
        transaction.connection.execute(
            "UPDATE notifications SET message_id = ? WHERE list_contains(?, notification_id)",
            [message_id, [row[0] for row in chosen]],
        )
    events = {row[1]: row[2] for row in sorted(chosen, key=lambda row: row[6])}
    return Parcel(channel, message_id, events, is_digest or len(events) > 1)


def settle(transaction: Transaction, parcel: Parcel, error: str | None, now: datetime) -> None:
    """Note that a parcel was taken, or why not; then it is tried again, at the latest in an hour."""
    place = [parcel.message_id, parcel.channel]
    where = "WHERE message_id = ? AND channel = ? AND sent_at IS NULL"
    if error is None:
        transaction.connection.execute(
            f"UPDATE notifications SET sent_at = ?, last_error = NULL {where}", [now, *place]
        )
        return
    tried = transaction.count(f"SELECT max(attempt_count) FROM notifications {where}", place)
    pause = min(FIRST_PAUSE * 2 ** min(tried, 10), LONGEST_PAUSE)
    transaction.connection.execute(
        "UPDATE notifications SET attempt_count = attempt_count + 1, last_error = ?,"
        f" send_after = ? {where}",
        [error, now + pause, *place],
    )


def failing_channels(transaction: Transaction, options: AlertOptions) -> list[Trouble]:
    """Return the channels that do not take what waits for them, or that are not configured any more."""
    waiting = transaction.connection.execute(
        "SELECT channel, count(*), max(attempt_count), arg_max(last_error, attempt_count)"
        " FROM notifications WHERE sent_at IS NULL GROUP BY channel ORDER BY channel"
    ).fetchall()
    found = []
    for channel, count, attempts, error in waiting:
        if channel not in options.by_name:
            reason = "it is not in feedback.yaml any more"
        elif attempts >= FAILED_ATTEMPTS:
            reason = f"{attempts} attempts failed: {error}"
        else:
            continue
        found.append(Trouble(CHANNEL_FAILED, channel, f"{count} message(s) wait for it; {reason}"))
    return found


def next_moment(transaction: Transaction, options: AlertOptions) -> datetime | None:
    """Return when something changes by itself: a message is due, or a snooze ends; None: nothing."""
    row = transaction.connection.execute(
        "SELECT min(due_at) FROM (SELECT send_after AS due_at FROM notifications WHERE sent_at IS NULL"
        " AND list_contains(?, channel)"
        " UNION ALL SELECT snoozed_until FROM alerts WHERE status = 'snoozed')",
        [list(options.by_name)],
    ).fetchone()
    return row[0] if row else None


def _told(transaction: Transaction, alert_id: str) -> set[str]:
    found = transaction.connection.execute(
        "SELECT DISTINCT channel FROM notifications WHERE alert_id = ?", [alert_id]
    )
    return {channel for (channel,) in found.fetchall()}
