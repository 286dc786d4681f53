"""The tables of alerts: what a person should know of, who is told of it, and what was looked at."""

from data_platform.schemas.table import Column, RowRule, Table

STATUSES = ("open", "escalated", "snoozed", "resolved")
EVENTS = ("opened", "escalated", "reopened", "resolved")

ALERTS = Table(
    name="alerts",
    description="One row per trouble that a person should know of, from when it was seen to its end.",
    columns=(
        Column("alert_id", "VARCHAR", "SHA-256 of kind, subject, day and raised_at.", True),
        Column("raised_at", "TIMESTAMPTZ", "When it was first seen.", True, is_volatile=True),
        Column("last_seen_at", "TIMESTAMPTZ", "When it was last seen.", True, is_volatile=True),
        Column("resolved_at", "TIMESTAMPTZ", "When it was over; null while it is not."),
        Column(
            "severity", "VARCHAR", "error, or warning where nothing is wrong but unusual.", True
        ),
        Column("kind", "VARCHAR", "What happened, such as 'check_failed' or 'open_gap'.", True),
        Column("subject", "VARCHAR", "Table, check, feed, file, job or sensor it is about.", True),
        Column("day", "DATE", "Partition that it is about; null if none or several."),
        Column("evidence", "VARCHAR", "Numbers and keys that show it; never feedback text.", True),
        Column(
            "status",
            "VARCHAR",
            "open; escalated: grew or stayed open for long; snoozed: a person wants to hear of it"
            " later; resolved.",
            True,
        ),
        Column("escalated_at", "TIMESTAMPTZ", "When it escalated; null: it did not."),
        Column("snoozed_until", "TIMESTAMPTZ", "Until when it is snoozed; null: it is not."),
        Column(
            "is_dismissed",
            "BOOLEAN",
            "True: a person resolved it, and the same trouble is not raised again while it lasts.",
            True,
        ),
        Column(
            "occurrence_count",
            "BIGINT",
            "Times it was told while it was not over: runs that failed, evaluations, looks.",
            True,
            is_volatile=True,
        ),
        Column(
            "raised_size",
            "DOUBLE",
            "How large it was when it was raised; of an incident the distance from what was"
            " expected; null: it has no size.",
        ),
        Column(
            "told_status",
            "VARCHAR",
            "Status that notifications were last written for; null: for none yet.",
        ),
    ),
    key=("alert_id",),
    row_rules=(
        RowRule("severity_is_known", "severity IN ('error', 'warning')", "An error or a warning."),
        RowRule("status_is_known", f"status IN {STATUSES}", f"One of {', '.join(STATUSES)}."),
        RowRule(
            "status_agrees_with_its_times",
            "(status = 'resolved') = (resolved_at IS NOT NULL)"
            " AND (status <> 'snoozed' OR snoozed_until IS NOT NULL)"
            " AND (status <> 'escalated' OR escalated_at IS NOT NULL)",
            "What is resolved, snoozed or escalated says since or until when.",
        ),
    ),
)

NOTIFICATIONS = Table(
    name="notifications",
    description="One row per event of an alert and channel: what was told, or waits to be told.",
    columns=(
        Column(
            "notification_id",
            "VARCHAR",
            "SHA-256 of alert_id, event, created_at and channel.",
            True,
        ),
        Column("alert_id", "VARCHAR", "The alert.", True),
        Column("event", "VARCHAR", "opened, escalated, reopened (a snooze ended), resolved.", True),
        Column("channel", "VARCHAR", "Name of the channel in feedback.yaml.", True),
        Column("created_at", "TIMESTAMPTZ", "When it happened.", True, is_volatile=True),
        Column(
            "send_after",
            "TIMESTAMPTZ",
            "Not sent before: the end of quiet hours, the time of a digest, or the next attempt.",
            True,
        ),
        Column("is_digest", "BOOLEAN", "Sent together with the others of its channel.", True),
        Column(
            "message_id",
            "VARCHAR",
            "Message that it is a part of, the same at each attempt; null: there was none yet.",
        ),
        Column("attempt_count", "BIGINT", "Attempts that failed.", True),
        Column(
            "last_error", "VARCHAR", "Why the last one failed, without secrets; null: none did."
        ),
        Column("sent_at", "TIMESTAMPTZ", "When the channel took it; null: not yet."),
    ),
    key=("notification_id",),
    row_rules=(RowRule("event_is_known", f"event IN {EVENTS}", f"One of {', '.join(EVENTS)}."),),
)

WATCH_CURSORS = Table(
    name="watch_cursors",
    description="One row per thing that is watched: how far the alerts have taken it in.",
    columns=(
        Column("name", "VARCHAR", "What is watched: 'runs' or 'daemon'.", True),
        Column("state", "VARCHAR", "JSON: how far.", True),
    ),
    key=("name",),
)
