"""The commands `alerts` and `watchdog`: what a person is told of, and the process that tells it."""

import json
import logging
import signal
import sqlite3
import sys
import threading
from datetime import UTC, datetime, timedelta

import click
import duckdb
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape

from data_platform.commands.refreshing import existing_warehouse
from data_platform.config_file import nearest
from data_platform.errors import ConfigurationError, DataPlatformError
from data_platform.feed_settings import PositiveInterval, interval
from data_platform.printable import one_line
from data_platform.settings import load_settings
from data_platform.storage.refusals import explained

out = Console(highlight=False, soft_wrap=True)
logger = logging.getLogger(__name__)

NOT_WELL = 1
ID_CHARACTERS = 8
LIST = """
    SELECT a.*, n.waiting_count, n.last_error FROM alerts a LEFT JOIN (
        SELECT alert_id, count(*) AS waiting_count, max(last_error) AS last_error
        FROM notifications WHERE sent_at IS NULL GROUP BY alert_id
    ) n USING (alert_id) WHERE ? OR a.resolved_at IS NULL OR n.waiting_count > 0
    ORDER BY a.resolved_at IS NOT NULL, a.severity, a.raised_at DESC, a.alert_id
"""


def _length(_ctx: click.Context, _option: click.Parameter, text: str) -> timedelta:
    """Return the length of time that was given as in feedback.yaml: 30m, 2d."""
    try:
        return interval(TypeAdapter(PositiveInterval).validate_python(text))
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.option("--all", "shows_all", is_flag=True, help="Also those that are over.")
@click.pass_context
def alerts(ctx: click.Context, as_json: bool, shows_all: bool) -> None:
    """List what is wrong and not over, and what could not be told yet."""
    if ctx.invoked_subcommand is not None:
        return
    with existing_warehouse(load_settings()).transaction() as transaction:
        rows = transaction.arrow(LIST, [shows_all]).to_pylist()
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
        return
    for row in rows:
        color = {"error": "red", "warning": "yellow"}[row["severity"]]
        color = "green" if row["status"] == "resolved" else color
        day = f" of {row['day']}" if row["day"] else ""
        until = f" until {row['snoozed_until']:%Y-%m-%d %H:%M} UTC" if row["snoozed_until"] else ""
        out.print(
            f"[{color}]{row['alert_id'][:ID_CHARACTERS]}  {row['status']}{until}[/{color}]"
            f"  {row['kind']}: {escape(one_line(row['subject']))}{day}"
            f" since {row['raised_at']:%Y-%m-%d %H:%M} UTC"
        )
        out.print(f"          {escape(one_line(row['evidence']))}")
        if row["waiting_count"]:
            reason = f": {row['last_error']}" if row["last_error"] else ""
            waiting = one_line(f"{row['waiting_count']} message(s) wait{reason}")
            out.print(f"          {escape(waiting)}")
    if not rows:
        out.print("Nothing is wrong." if not shows_all else "There was no alert yet.")


@alerts.command()
@click.argument("alert_id")
@click.option(
    "--for", "length", callback=_length, default="1d", show_default=True, help="For how long."
)
def snooze(alert_id: str, length: timedelta) -> None:
    """Hear nothing more of an alert for a while, unless it is over before."""
    from data_platform.monitoring.alerts import snooze_alert

    until = datetime.now(UTC) + length
    with existing_warehouse(load_settings()).transaction() as transaction:
        trouble = snooze_alert(transaction, alert_id, until)
    about = escape(one_line(f"{trouble.kind}: {trouble.subject}"))
    out.print(f"Snoozed until {until:%Y-%m-%d %H:%M} UTC: {about}")


@alerts.command()
@click.argument("alert_id")
def resolve(alert_id: str) -> None:
    """Say that an alert is over; it is not raised again before its trouble has been gone."""
    from data_platform.monitoring.alerts import dismiss_alert
    from data_platform.monitoring.notifications import enqueue

    settings = load_settings()
    now = datetime.now(UTC)
    with existing_warehouse(settings).transaction() as transaction:
        trouble = dismiss_alert(transaction, alert_id, now)
        enqueue(transaction, settings.config.alerts, now)
    out.print(f"Resolved: {escape(one_line(f'{trouble.kind}: {trouble.subject}'))}")


@alerts.command()
@click.argument("channel", required=False)
def test(channel: str | None) -> None:
    """Send a test message by CHANNEL, or by every channel, and say what happened."""
    from data_platform.monitoring.channels import send
    from data_platform.monitoring.messages import test_message

    options = load_settings().config.alerts
    if channel is not None and channel not in options.by_name:
        names = list(options.by_name)
        message = f"There is no channel {channel!r}{nearest(channel, names)}. Channels: {', '.join(names)}."
        raise ConfigurationError(message)
    failed = False
    for name in [channel] if channel else options.by_name:
        try:
            send(options.by_name[name], test_message(name, datetime.now(UTC)))
            out.print(f"[green]{name}[/green]: taken")
        except DataPlatformError as error:
            failed = True
            out.print(f"[red]{name}[/red]: not taken: {escape(one_line(error))}")
    if failed:
        sys.exit(NOT_WELL)


@click.command()
@click.option("--once", is_flag=True, help="Look once and end, for cron.")
@click.option(
    "--every", callback=_length, default="1m", show_default=True, help="How often to look."
)
def watchdog(once: bool, every: timedelta) -> None:
    """Watch the platform from outside of its daemon, and tell of what is wrong.

    Looks at the daemon's heartbeat, its sensors' evaluations and everything else that becomes an
    alert, and sends what waits to be told. With alerts.heartbeat_url it tells an outside service
    that it is at work; that service says when nobody does.
    """
    from data_platform.automation.instance import open_instance
    from data_platform.automation.watchdog import watch_over
    from data_platform.definitions import build_definitions, watch_of

    settings = load_settings()
    existing_warehouse(settings)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    home = settings.dagster_home
    with explained(home), open_instance(home, captures_output=False) as instance:
        watch = watch_of(settings, build_definitions(settings))
        while not stopped.is_set():
            try:
                existing_warehouse(settings)  # its disk may have gone
                with explained(home):
                    found = watch_over(watch, instance, settings.config.alerts.heartbeat_url)
                out.print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {escape(found)}")
            except DataPlatformError as error:
                if once:
                    raise
                logger.warning("%s", error)  # the next look may go well
            except (duckdb.Error, sqlite3.Error, OSError) as error:
                if once:
                    raise
                # the error itself may quote a row
                logger.warning("the look failed: %s", type(error).__name__)
            if once:
                return
            stopped.wait(every.total_seconds())
