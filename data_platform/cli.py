"""The command line `data-platform`: reads arguments, calls the stages, prints what a person needs to know."""

import json
import sys
import time
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from data_platform import __version__
from data_platform.commands.alerts import alerts, watchdog
from data_platform.commands.backup import backup, restore
from data_platform.commands.dashboard import dashboard
from data_platform.commands.erase import erase, maintain
from data_platform.commands.export import export
from data_platform.commands.metrics import metrics
from data_platform.commands.models import label, models
from data_platform.commands.refreshing import (
    existing_warehouse,
    refreshing,
    rewrite_report,
    staleness_of,
)
from data_platform.config_file import nearest
from data_platform.errors import ConfigurationError, DataPlatformError, SourceError
from data_platform.printable import one_line
from data_platform.settings import CONFIG_FILE_NAME, Settings, load_settings, protect_new_files
from data_platform.storage.days import days_between, utc_today
from data_platform.storage.files import replace_text
from data_platform.storage.refusals import explained

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

DATA_NOT_WELL = 1
BUSIEST_SHOWN = 8
SCHEMA_FILE = "feedback.schema.json"
SHOWN_CHARACTERS = 300


class PlatformGroup(click.Group):
    """Turns the platform's own errors into one message and an exit code; bugs keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with explained(Path.cwd()):
                return super().invoke(ctx)
        except DataPlatformError as error:
            err.print(f"[red]Error:[/red] {escape(str(error))}")
            ctx.exit(error.exit_code)


@click.group(cls=PlatformGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="data-platform")
def main() -> None:
    """Customer feedback in, a scored warehouse out.

    Reads feedback.yaml in the project's folder, or the file that DATA_PLATFORM_CONFIG names;
    without one it works on an embedded sample. Data lives in data/, or in DATA_PLATFORM_HOME.

    Exit codes: 0 well, 1 the data is not well, 2 a mistake in the configuration or the
    arguments, 3 a source cannot be reached, 130 stopped by Ctrl-C or SIGTERM.
    """
    protect_new_files()


main.add_command(metrics)
main.add_command(alerts)
main.add_command(watchdog)
main.add_command(models)
main.add_command(erase)
main.add_command(maintain)
main.add_command(label)
main.add_command(dashboard)
main.add_command(export)
main.add_command(backup)
main.add_command(restore)


@main.command()
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=Path(CONFIG_FILE_NAME),
    show_default=True,
    help="File to write.",
)
@click.option(
    "--source",
    default="file",
    show_default=True,
    help="Kind of the feed: see data-platform sources.",
)
def init(path: Path, source: str) -> None:
    """Write a commented feedback.yaml to start from; of another kind of feed with --source."""
    from data_platform.feed_settings import FEED_KINDS
    from data_platform.ingestion.sources import template

    if source not in FEED_KINDS:
        kinds = ", ".join(FEED_KINDS)
        message = (
            f"There is no source {source!r}{nearest(source, list(FEED_KINDS))}. Kinds: {kinds}."
        )
        raise ConfigurationError(message)
    if path.exists():
        message = f"{path} is there already; nothing was written. Name another file with --path."
        raise ConfigurationError(message)
    schema = Path(str(files("data_platform").joinpath(SCHEMA_FILE))).resolve()
    folder = path.resolve().parent
    place = f"./{schema.relative_to(folder)}" if schema.is_relative_to(folder) else schema.as_uri()
    replace_text(path, f"# yaml-language-server: $schema={place}\n{template(source)}")
    what = "the path and the fields of its feed" if source == "file" else "its feed"
    out.print(f"Wrote {path}. Mend {what}, then: data-platform check")


@main.command()
def schema() -> None:
    """Print the JSON Schema of feedback.yaml, for editors that complete and check it."""
    from data_platform.settings import config_schema

    click.echo(json.dumps(config_schema(), indent=2))


@main.command()
def check() -> None:
    """Validate the configuration, reach each feed, and say what is wrong and what to do."""
    from data_platform.ingestion.feeds import Feeds

    settings = load_settings()
    origin = str(settings.config_path) if settings.config_path else "the embedded sample"
    out.print(f"Configuration: {origin}: well")
    if settings.config_path and (settings.home / "sample").is_dir():
        err.print(
            f"[yellow]Note:[/yellow] {settings.home} also holds the sample's data. Set"
            " DATA_PLATFORM_HOME to another folder, or remove it, to keep them apart."
        )
    feeds = Feeds(settings)
    problems = 0
    for name in feeds.names:
        try:
            seen = feeds.probe(name)
            is_readable = feeds.is_of_files(name) and bool(_first_rows(settings, name, 1))
            out.print(f"Feed {name}: {escape(seen)}{', readable' if is_readable else ''}: well")
            if seen == "0 file(s)":
                out.print(f"  no file matches {feeds.files(name).feed.path!r} yet; put one there")
        except (SourceError, ConfigurationError) as error:
            problems = max(problems, error.exit_code)
            err.print(f"[red]Feed {name}:[/red] {escape(str(error))}")
    if problems:
        sys.exit(problems)


@main.command()
@click.argument("feed")
@click.option(
    "--rows", type=click.IntRange(1, 1000), default=5, show_default=True, help="Posts to show."
)
def preview(feed: str, rows: int) -> None:
    """Show the first posts of FEED as the platform would see them; store nothing."""
    settings = load_settings()
    settings.feed(feed)
    shown = _first_rows(settings, feed, rows)
    if not shown:
        out.print(f"Feed {feed} has no records yet.")
    for number, row in enumerate(shown, start=1):
        out.print(f"[bold]{number}.[/bold] " + escape(str(row.pop("feedback_id", "refused"))))
        for name, value in row.items():
            if value is not None:
                out.print(f"   {name}: {escape(one_line(value, SHOWN_CHARACTERS))}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def run(as_json: bool) -> None:
    """Collect what is new, refresh the days that it changed, publish, and print a summary."""
    started = time.monotonic()
    settings = load_settings()
    with refreshing(settings) as (refresher, outcome, staleness, warehouse):
        refresher.complete_history(warehouse)
        refresher.collect(_groups(settings, None), [], outcome)
        refresher.refresh(staleness.stale_days(warehouse), outcome)
        refresher.refresh_moved(staleness, warehouse, [], outcome)
        refresher.publish(outcome)
    _finish(settings, outcome, time.monotonic() - started, as_json)


@main.command()
@click.option(
    "--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True, help="First day (UTC)."
)
@click.option(
    "--to",
    "last",
    type=click.DateTime(["%Y-%m-%d"]),
    required=True,
    help="Last day (UTC), included.",
)
@click.option("--feed", "feed_name", help="Collect this feed only; default: all feeds.")
@click.option("--newest-first", is_flag=True, help="Refresh the days from the last to the first.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def backfill(
    first: datetime, last: datetime, feed_name: str | None, newest_first: bool, as_json: bool
) -> None:
    """Collect and refresh every day of a range, whether it looks up to date or not."""
    started = time.monotonic()
    settings = load_settings()
    days = _range(settings, first.date(), last.date())
    groups = _groups(settings, feed_name)
    with refreshing(settings) as (refresher, outcome, staleness, warehouse):
        outdated_before = staleness.outdated_days(warehouse)
        refresher.collect(groups, days, outcome)
        if newest_first:
            for day in reversed(days):
                refresher.refresh([day], outcome)
        else:
            refresher.refresh(days, outcome)
        refresher.refresh_moved(staleness, warehouse, outdated_before, outcome)
        refresher.publish(outcome)
    _finish(settings, outcome, time.monotonic() - started, as_json)


@main.command()
@click.option("--feed", "feed_name", help="Replay this feed only; default: all feeds.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def replay(feed_name: str | None, as_json: bool) -> None:
    """Run the records in quarantine through the current contract, and move out what passes.

    For records whose file is gone: after a mend of feedback.yaml the files that are still there
    are read again by the next run.
    """
    started = time.monotonic()
    settings = load_settings()
    names = [settings.feed(feed_name).name] if feed_name else []
    existing_warehouse(settings)
    with refreshing(settings) as (refresher, outcome, staleness, warehouse):
        released = refresher.replay(names, outcome)
        if released:
            refresher.refresh(staleness.stale_days(warehouse), outcome)
            refresher.refresh_moved(staleness, warehouse, [], outcome)
            refresher.publish(outcome)
    (err if as_json else out).print(f"{released} record(s) left quarantine")
    _finish(settings, outcome, time.monotonic() - started, as_json)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the state as JSON.")
def status(as_json: bool) -> None:
    """Show what is stored, what is out of date or wrong, and how feeds and automation are doing."""
    from data_platform.automation.instance import open_instance
    from data_platform.automation.overview import read_automation, read_overview
    from data_platform.definitions import build_definitions

    settings = load_settings()
    overview = read_overview(existing_warehouse(settings), staleness_of(settings))
    with explained(settings.dagster_home), open_instance(settings.dagster_home) as instance:
        overview["automation"] = read_automation(instance, build_definitions(settings))
    if as_json:
        click.echo(json.dumps(overview, indent=2, default=str))
    else:
        _print_overview(overview)
    errors = [alert for alert in overview["alerts"] if alert["severity"] == "error"]
    errors += [c for c in overview["automation"]["failing_checks"] if not c["is_warning"]]
    if errors or overview["gaps"] or any(entry["last_error"] for entry in overview["feeds"]):
        sys.exit(DATA_NOT_WELL)


def _print_overview(overview: dict[str, Any]) -> None:
    tables = RichTable("table", "rows", "days", box=None)
    for name, entry in overview["tables"].items():
        tables.add_row(name, str(entry["rows"]), str(entry["days"] or ""))
    out.print(tables)
    feeds = RichTable("feed", "deliveries", "read", "in quarantine", "last collected", box=None)
    for entry in overview["feeds"]:
        feeds.add_row(
            entry["feed"],
            str(entry["delivery_count"]),
            str(entry["read_count"]),
            str(entry["quarantined_count"]),
            str(entry["last_collected_at"] or "never")[:19],
        )
    out.print(feeds)
    work = RichTable("last 24 hours", "runs", "rows in", "seconds", "rows/s", "requests", box=None)
    for entry in overview["last_24_hours"][:BUSIEST_SHOWN]:
        work.add_row(
            entry["asset"],
            *(_figure(entry[name]) for name in ("materializations", "input_count")),
            f"{entry['seconds']:.1f}",
            *(_figure(entry[name]) for name in ("rows_per_second", "request_count")),
        )
    if overview["last_24_hours"]:
        out.print(work)
    stale = overview["stale_days"]
    advice = " — data-platform run brings them up to date" if stale else ""
    out.print(f"Out of date: {len(stale)} day(s){advice}")
    daemon = overview["automation"]["daemon"]
    last = str(daemon["last_heartbeat_at"] or "never")[:19]
    out.print(
        "Daemon: running; sensors refresh what changes"
        if daemon["is_running"]
        else f"Daemon: not running (last seen: {last}); nothing refreshes by itself. Start it: make ui"
    )
    for sensor in overview["automation"]["idle_sensors"]:
        state = f"fails: {sensor['error']}" if sensor["is_on"] else "is off; turn it on in the UI"
        out.print(f"[red]Sensor {sensor['name']}[/red] {escape(one_line(state, SHOWN_CHARACTERS))}")
    for entry in overview["feeds"]:
        if entry["last_error"]:
            error = escape(one_line(entry["last_error"], 2000))
            out.print(f"[red]Feed {entry['feed']}:[/red] {error}")
    for gap in overview["gaps"]:
        where = escape(one_line(f"{gap['feed']}: {gap['subject']}", SHOWN_CHARACTERS))
        out.print(f"[red]Gap[/red] since {str(gap['since'])[:19]}, {where}")
    for check in overview["automation"]["failing_checks"]:
        color = "yellow" if check["is_warning"] else "red"
        when = str(check["evaluated_at"])[:19]
        out.print(f"[{color}]Check[/{color}] {check['asset']}: {check['check']} ({when})")
    for alert in overview["alerts"]:
        color = "yellow" if alert["severity"] == "warning" else "red"
        about = " of ".join(str(part) for part in (alert["subject"], alert["day"]) if part)
        line = f"{alert['kind']}: {about}: {alert['evidence']}"
        out.print(f"[{color}]Alert[/{color}] {escape(one_line(line, SHOWN_CHARACTERS))}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the digests as JSON.")
def digest(as_json: bool) -> None:
    """Print a content digest of each table: equal digests, equal content, in whatever order it came."""
    from data_platform.automation.overview import read_digests

    digests = read_digests(existing_warehouse(load_settings()))
    if as_json:
        click.echo(json.dumps(digests, indent=2))
        return
    width = max(len(name) for name in digests)
    for name, value in digests.items():
        click.echo(f"{name:<{width}}  {value}")


@main.command()
def publish() -> None:
    """Bring the published snapshot and the report up to date with the warehouse."""
    from data_platform.reporting.snapshot import publish as publish_snapshot

    settings = load_settings()
    published = publish_snapshot(existing_warehouse(settings), settings.snapshot_path)
    rewrite_report(settings, settings.report_path)
    out.print(
        f"Published {published.changed_days} changed table-day(s) in {published.seconds:.1f} s"
    )
    out.print(f"Snapshot: {settings.snapshot_path}\nReport:   {settings.report_path}")


@main.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; default: report/index.html in the data home.",
)
def report(output: Path | None) -> None:
    """Write the report of the published snapshot: one HTML file that needs no network."""
    settings = load_settings()
    if output:
        settings.require_output_place(output)
    existing_warehouse(settings)
    if not settings.snapshot_path.exists():
        message = "Nothing is published yet; data-platform run or data-platform publish does it."
        raise ConfigurationError(message)
    path = output or settings.report_path
    count = rewrite_report(settings, path)
    out.print(f"Report: {path}" + (f" ({count} finding(s) on top)" if count else ""))


@main.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the UI."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(port: int, as_json: bool) -> None:
    """Examine the installation, the data home and the automation; say what to do about each trouble."""
    from data_platform.automation.doctor import examine

    findings = examine(load_settings(), port)
    if as_json:
        click.echo(json.dumps([finding.__dict__ for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = "[green]well[/green]" if finding.is_well else "[red]trouble[/red]"
            out.print(f"{mark}  {finding.subject}: {escape(one_line(finding.message, 2000))}")
    if not all(finding.is_well for finding in findings):
        sys.exit(DATA_NOT_WELL)


@main.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others can reach it only if you say so.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8787, show_default=True, help="Port."
)
def webhook(host: str, port: int) -> None:
    """Take in what others send: POST /feeds/NAME for each feed of kind webhook.

    A request is signed with the feed's secret (HMAC-SHA256 of the body) and answered with 200 when
    its records are durable.
    """
    import uvicorn

    from data_platform.ingestion.feeds import Feeds
    from data_platform.ingestion.intake import webhook_application

    settings = load_settings()
    feeds = Feeds(settings)
    if not feeds.webhooks:
        message = "No feed is of kind webhook; data-platform init --source webhook writes one."
        raise ConfigurationError(message)
    for name in feeds.webhooks:
        feeds.probe(name)
        out.print(f"POST http://{host}:{port}/feeds/{name}")
    uvicorn.run(webhook_application(settings), host=host, port=port, log_level="warning")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def sources(as_json: bool) -> None:
    """List the kinds of sources: what they need, how far back they reach, edits, deletions, limits."""
    from data_platform.ingestion.sources import source_traits

    traits = source_traits()
    if as_json:
        click.echo(json.dumps(traits, indent=2))
        return
    for kind, told in traits.items():
        out.print(f"[bold]{kind}[/bold]  {escape(told['title'])}")
        for name in ("needs", "reach", "edits", "deletions", "overlap", "id_type", "cost"):
            out.print(f"   {name.removesuffix('_type'):<10} {escape(told[name])}")
    out.print("A block to start from: data-platform init --source KIND. Pages: docs/sources/.")


@main.command(name="dagster-home")
def dagster_home() -> None:
    """Prepare the folder that DAGSTER_HOME should name, and print it."""
    from data_platform.automation.instance import open_instance

    home = load_settings().dagster_home
    with open_instance(home):
        click.echo(home)


def _finish(settings: Settings, outcome: Any, seconds: float, as_json: bool) -> None:
    """Print the summary; end with exit code 1 if something failed."""
    from data_platform.reporting.report import read_numbers

    for failure in outcome.failures:
        err.print(f"[red]Failed:[/red] {escape(one_line(failure, 2000))}")
    if not settings.snapshot_path.exists():
        sys.exit(DATA_NOT_WELL)
    numbers = read_numbers(settings.snapshot_path)
    if as_json:
        summary = {
            **numbers.__dict__,
            "refreshed_days": outcome.days,
            "changed_table_days": outcome.changed,
            "failures": outcome.failures,
            "seconds": round(seconds, 2),
            "warehouse": str(settings.warehouse_path),
            "snapshot": str(settings.snapshot_path),
            "report": str(settings.report_path),
        }
        click.echo(json.dumps(summary, indent=2))
    else:
        mean = "–" if numbers.mean_compound is None else f"{numbers.mean_compound:+.3f}"
        table = RichTable(box=None, show_header=False)
        for name, value in (
            ("posts", numbers.post_count),
            ("days", numbers.day_count),
            ("copies", numbers.duplicate_count),
            ("deleted at the source", numbers.deleted_count),
            ("in quarantine", numbers.quarantined_count),
            ("scored", numbers.scored_count),
            ("mean sentiment", f"{mean} (-1 to 1)"),
            ("refreshed days", outcome.days),
            ("changed", f"{outcome.changed} table-days" if outcome.changed else "nothing changed"),
            ("seconds", f"{seconds:.1f}"),
            ("warehouse", settings.warehouse_path),
            ("snapshot", settings.snapshot_path),
            ("report", settings.report_path),
        ):
            table.add_row(name, str(value))
        out.print(table)
        out.print(
            "Next: open the report; see every stage in the Dagster UI with [bold]make ui[/bold];"
            " point the platform at your own files with [bold]data-platform init[/bold]."
        )
    if outcome.failures:
        sys.exit(DATA_NOT_WELL)


def _groups(settings: Settings, feed_name: str | None) -> list[list[str]]:
    """Return the feeds to collect: each of files by itself, those on the network together."""
    from data_platform.feed_settings import FileFeed

    chosen = [settings.feed(feed_name)] if feed_name else settings.feeds
    files = [[feed.name] for feed in chosen if isinstance(feed, FileFeed)]
    others = [feed.name for feed in chosen if not isinstance(feed, FileFeed)]
    return [*files, others] if others else files


def _range(settings: Settings, first: date, last: date) -> list[date]:
    """Return the days of a backfill.

    Raises:
        ConfigurationError: the range is upside down or leaves the configured days.
    """
    start, today = settings.config.start_date, utc_today()
    if last < first:
        message = f"--to {last} is before --from {first}."
        raise ConfigurationError(message)
    if first < start or last > today:
        message = (
            f"The platform holds {start} (start_date) to {today} (today, UTC);"
            f" {first} to {last} leaves that range."
        )
        raise ConfigurationError(message)
    return list(days_between(first, last))


def _first_rows(settings: Settings, name: str, count: int) -> list[dict[str, Any]]:
    """Return the first records of a feed under the contract, or why they are refused."""
    from data_platform.ingestion.contract import Delivery, PostContract
    from data_platform.ingestion.feeds import Feeds

    feeds = Feeds(settings)
    if not feeds.is_of_files(name):
        return feeds.preview(name, count)
    connector = feeds.files(name)
    rows: list[dict[str, Any]] = []
    with PostContract(connector.feed, b"preview: nothing is stored") as contract:
        for file in connector.files():
            for page in connector.read(file):
                delivery = Delivery("preview", file.path.name, file.modified_at, feeds.open_days)
                checked = contract.check(page, delivery)
                rows += checked.posts.slice(0, count - len(rows)).to_pylist()
                rows += [
                    {"file": r["file"], "row_number": r["row_number"], "refused": r["reason"]}
                    for r in checked.refused.slice(0, max(0, count - len(rows))).to_pylist()
                ]
                if len(rows) >= count:
                    return rows
    return rows


def _figure(value: float | None) -> str:
    return f"{value:,.0f}" if value else ""
