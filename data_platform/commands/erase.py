"""The command that erases posts, from every table and from the bytes of every file."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from data_platform.commands.refreshing import (
    existing_warehouse,
    refreshing,
    rewrite_report,
    staleness_of,
)
from data_platform.errors import ConfigurationError, DataPlatformError
from data_platform.printable import printable
from data_platform.settings import Settings, load_settings
from data_platform.storage.refusals import explained

if TYPE_CHECKING:
    from data_platform.automation.erasing import Eraser
    from data_platform.ingestion.feeds import Feeds
    from data_platform.ingestion.selection import Found
    from data_platform.storage.warehouse import DayWrite

out = Console(highlight=False, soft_wrap=True)

FILES_SHOWN = 20


@click.command()
@click.option("--post", "posts", multiple=True, help="Id of a post; may be given several times.")
@click.option("--author", help="Everything by this handle, as the source writes it.")
@click.option(
    "--feed", help="Only posts that this feed delivered; other feeds of its platform lose them too."
)
@click.option(
    "--before", type=click.DateTime(["%Y-%m-%d"]), help="Only posts of earlier days (UTC)."
)
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--resume",
    is_flag=True,
    help="Complete what interrupted erasures have left; takes no selection.",
)
def erase(
    posts: tuple[str, ...],
    author: str | None,
    feed: str | None,
    before: datetime | None,
    dry_run: bool,
    yes: bool,
    resume: bool,
) -> None:
    """Erase posts for good: text, author, id and scores, from every table, segment, snapshot and report.

    Name at least one of --post, --author, --feed and --before. Only a keyed hash stays, by which the
    posts are recognised: no file, no collection and no backfill brings them back, and with --author
    alone nothing of the same author is taken in any more. A post goes from every feed of its platform
    that delivered it, also with --feed. Your own files and backups are yours to mend: the command names
    them.
    """
    from data_platform.ingestion.feeds import Feeds
    from data_platform.ingestion.selection import Selection, find

    settings = load_settings()
    feeds = Feeds(settings)
    existing_warehouse(settings)
    eraser = eraser_of(settings, feeds)
    if resume:
        if posts or author is not None or feed is not None or before is not None:
            message = (
                "--resume completes what was asked for before, and takes no selection. First:"
                " data-platform erase --resume; then the selection without --resume."
            )
            raise ConfigurationError(message)
        _resume(settings, eraser, is_dry_run=dry_run)
        return
    selection = Selection(posts, author, feed, before.date() if before else None)
    found = find(feeds, selection)
    _print(found)
    if found.is_empty:
        if eraser.pending:
            out.print("Nothing of this is left to be asked for; what was asked for before is open.")
            _resume(settings, eraser, is_dry_run=dry_run)
        else:
            out.print("Nothing is erased.")
        return
    if dry_run:
        return
    if not yes:
        click.confirm("Erase this for good?", abort=True)
    suppression = eraser.ledger.suppression(feeds.author_key())
    eraser.ledger.request(selection, found, suppression, datetime.now(UTC))
    complete_erasures(settings, eraser)


@click.command()
def maintain() -> None:
    """Complete open erasures, purge the text of deleted posts, redact old text, compact what is scattered.

    Text that was collected more than raw_text_days ago is redacted in the raw zone as well. Many small
    segments of a pulled feed and day become one; a warehouse of which much is free space is written
    anew; old runs leave the history (keep_runs).

    While the UI runs, maintenance_schedule does this every twelve hours.
    """
    from data_platform.automation.instance import open_instance
    from data_platform.automation.maintenance import maintain as keep_in_order
    from data_platform.ingestion.feeds import Feeds

    settings = load_settings()
    eraser = eraser_of(settings, Feeds(settings))
    if eraser.pending:
        complete_erasures(settings, eraser)
    with explained(settings.dagster_home), open_instance(settings.dagster_home) as instance:
        moved: list[DayWrite] = []
        done = keep_in_order(
            eraser, eraser.warehouse, instance, staleness_of(settings), moved.extend
        )
    if moved:
        _refresh_moved(settings)
    out.print(
        f"Purged: {done['purged_segments']} segment(s). Compacted:"
        f" {done['merged_segments']} segment(s) less. Redacted: {done['redacted_records']} record(s)."
        f" Freed: {done['freed_bytes']:,} bytes."
        f" Forgotten: {done['forgotten_runs']} run(s)."
    )


def eraser_of(settings: Settings, feeds: "Feeds") -> "Eraser":
    """Return what erases, and writes the report again afterwards."""
    from data_platform.automation.erasing import Eraser

    return Eraser(
        feeds,
        existing_warehouse(settings),
        settings.snapshot_path,
        lambda: rewrite_report(settings, settings.report_path),
    )


def complete_erasures(settings: Settings, eraser: "Eraser") -> None:
    """Do what the open erasures ask for, refresh what they changed, and say what is done.

    Raises:
        DataPlatformError: something failed; the erasures stay open, and the next try goes on.
    """
    from data_platform.automation.backup import held_backups

    with refreshing(settings) as (refresher, outcome, staleness, warehouse):
        days = {w.day for w in eraser.remove() if w.day in staleness.feeds.open_days}
        refresher.complete_history(warehouse)
        refresher.refresh(sorted(days.union(staleness.outdated_days(warehouse))), outcome)
        refresher.refresh_moved(staleness, warehouse, [], outcome)
        refresher.publish(outcome)
        if outcome.failures:
            message = (
                f"The erasure stays open: {outcome.failures[0]}. Mend that, then:"
                " data-platform erase --resume"
            )
            raise DataPlatformError(message)
        done = eraser.finish()
    for path, created_at in held_backups(settings.home):
        out.print(f"A backup may still hold them: {escape(str(path))} ({created_at:%Y-%m-%d})")
    for folder in sorted(settings.home.glob("replaced-*")):
        out.print(f"A restore moved these aside; they may still hold them: {escape(str(folder))}")
    for erasure in done:
        out.print(f"Erased: {erasure.subject}: {erasure.post_count} post(s).")


def _resume(settings: Settings, eraser: "Eraser", *, is_dry_run: bool) -> None:
    """Name the open erasures, and complete them unless that is not to change anything."""
    if not eraser.pending:
        out.print("No erasure is open.")
        return
    for erasure in eraser.pending:
        asked = f"{erasure.requested_at:%Y-%m-%d %H:%M} UTC"
        out.print(f"Open since {asked}: {escape(erasure.subject)}: {erasure.post_count} post(s).")
    if not is_dry_run:
        complete_erasures(settings, eraser)


def _refresh_moved(settings: Settings) -> None:
    """Refresh the days whose raw text was redacted: they end as they were.

    Raises:
        DataPlatformError: something failed; data-platform run tries it again.
    """
    with refreshing(settings) as (refresher, outcome, staleness, warehouse):
        refresher.complete_history(warehouse)
        refresher.refresh(staleness.outdated_days(warehouse), outcome)
        refresher.publish(outcome)
        if outcome.failures:
            message = (
                f"Old text is redacted, but a refresh failed: {outcome.failures[0]}. Mend that, then:"
                " data-platform run"
            )
            raise DataPlatformError(message)


def _print(found: "Found") -> None:
    out.print(
        f"{found.post_count} post(s) of {len(found.days)} day(s) in {found.segment_count}"
        f" segment(s), {len(found.quarantine_ids)} record(s) in quarantine."
    )
    if len(found.feeds) > 1:
        feeds = ", ".join(sorted(found.feeds))
        out.print(f"A post goes from every feed of its platform. These hold some: {feeds}.")
    if found.files:
        out.print("Delivered by these, which stay as they are and are yours to mend:")
        for name in sorted(found.files)[:FILES_SHOWN]:
            out.print(f"   {escape(printable(name))}")
        if len(found.files) > FILES_SHOWN:
            out.print(f"   and {len(found.files) - FILES_SHOWN} more")
