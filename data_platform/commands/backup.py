"""The commands `backup` and `restore`: everything that cannot be made again, in one file and back."""

import time
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from data_platform.settings import Settings, load_settings

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@click.command()
@click.argument("path", required=False, type=click.Path())
@click.option("--list", "is_list", is_flag=True, help="List the backups; write none.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    help="Afterwards remove the oldest backups in the default folder; so many stay.",
)
def backup(path: str | None, is_list: bool, keep: int | None) -> None:
    """Write one file that a platform can be restored from; runs and sensors may go on.

    PATH is a new file, or a folder for it (a new one ends in /); by default it goes to backups/ in the data home. It
    holds warehouse, landed posts, ledger, history and the key of the author hashes: keep it as
    safe as the platform itself. Snapshot and report are made again.
    """
    from data_platform.automation.backup import write_backup
    from data_platform.automation.interruption import stoppable

    settings = load_settings()
    if is_list:
        _print_backups(settings)
        return
    started = time.monotonic()
    with stoppable():
        written = write_backup(
            settings,
            Path(path).resolve() if path else None,
            is_folder=path is not None and path.endswith("/"),
        )
    rows = written.manifest.tables["raw_feedback"].rows
    out.print(
        f"Wrote {escape(str(written.path))}: {_megabytes(written.size_bytes)},"
        f" {rows:,} posts, {time.monotonic() - started:.1f} s. It holds personal data."
    )
    if keep is not None:
        _remove_older(settings, keep)


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--replace", is_flag=True, help="Also if there is data: it is moved into a folder beside it."
)
def restore(path: Path, replace: bool) -> None:
    """Put the backup PATH in place, and compare every table with what was backed up.

    Everything is checked before anything is touched. A restore that was cut off is completed by
    the same command. Stop the daemon and other runs before.
    """
    from data_platform.automation.interruption import stoppable
    from data_platform.automation.restore import restore_backup

    settings = load_settings()
    with stoppable():
        restored = restore_backup(settings, path.resolve(), replace=replace)
    when = f"{restored.manifest.created_at:%Y-%m-%d %H:%M:%S} UTC"
    if restored.equal_count is None:
        out.print(
            f"Restored the backup of {when}: every file is equal. Its tables were brought to this"
            " release's schema; data-platform run refreshes them."
        )
    else:
        out.print(f"Restored the backup of {when}, verified: {restored.equal_count} tables equal.")
    for folder in restored.aside:
        out.print(f"What was there before is in {escape(str(folder))}.")
    if restored.configuration is not None:
        out.print(
            f"Its configuration is in {escape(str(restored.configuration))}; the one in use was"
            " not changed."
        )
    if restored.pending_erasures:
        err.print(
            f"[yellow]{restored.pending_erasures} erasure(s) must be done again:[/yellow]"
            " data-platform erase --resume"
        )
    out.print("Next: data-platform run brings it up to date, and publishes it.")


def _print_backups(settings: Settings) -> None:
    from data_platform.automation.backup import BACKUPS, list_backups

    folder = settings.home / BACKUPS
    table = RichTable("begun (UTC)", "size", "posts", "release", "file", box=None)
    found = list_backups(folder)
    for each in found:
        table.add_row(
            f"{each.manifest.created_at:%Y-%m-%d %H:%M:%S}",
            _megabytes(each.size_bytes),
            f"{each.manifest.tables['raw_feedback'].rows:,}",
            escape(each.manifest.release),
            escape(each.path.name),
        )
    if not found:
        out.print(f"There is no backup in {escape(str(folder))} yet.")
        return
    out.print(f"In {escape(str(folder))}:")
    out.print(table)


def _remove_older(settings: Settings, keep: int) -> None:
    from data_platform.automation.backup import BACKUPS, remove_older

    for gone in remove_older(settings.home / BACKUPS, keep):
        out.print(f"Removed {escape(gone.name)}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
