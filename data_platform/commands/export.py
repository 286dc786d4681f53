"""The command `export`: a table of the published snapshot as a file for other programs."""

import json
import shutil
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from data_platform.errors import ConfigurationError
from data_platform.export_settings import FILE_FORMATS, FileFormat
from data_platform.settings import load_settings

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

STANDARD_OUTPUT = Path("-")
DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.argument("table", required=False)
@click.option("--list", "lists", is_flag=True, help="List the tables that can be exported.")
@click.option("--from", "first", type=DAY, help="First day (UTC); default: from the beginning.")
@click.option("--to", "last", type=DAY, help="Last day (UTC), included; default: to the end.")
@click.option("--feed", "feeds", multiple=True, help="Only this feed; may be given several times.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(FILE_FORMATS),
    help="Format of the file; default: by the ending of --output, else parquet.",
)
@click.option(
    "--author",
    help="Instead of a table: all that is held of this handle, as JSON; only --output goes with it.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write, or - for CSV on standard output; default: TABLE.FORMAT in this folder.",
)
def export(
    table: str | None,
    lists: bool,
    first: datetime | None,
    last: datetime | None,
    feeds: tuple[str, ...],
    file_format: FileFormat | None,
    author: str | None,
    output: Path | None,
) -> None:
    """Write rows of TABLE, such as feedback, to a file: Parquet, CSV or Arrow.

    Reads the published snapshot, so it never waits for the pipeline. The file is there whole or
    not at all, replaces one that was there before, and can be read by its owner only. In CSV, text
    that a spreadsheet could take for a formula begins with an apostrophe.

    With --author it answers a person who asks what is held: texts as collected, every version, also
    of posts that are not loaded yet, their scores, human labels, records in quarantine. That comes
    from the warehouse and the landing zone, not from the snapshot.
    """
    settings = load_settings()
    if output is not None and output != STANDARD_OUTPUT:
        settings.require_output_place(output)
    if author is not None:
        if table is not None or lists or first or last or feeds or file_format:
            message = (
                "--author exports all that is held of one person, as JSON: call it without TABLE,"
                " --list, --from, --to, --feed and --format."
            )
            raise ConfigurationError(message)
        _export_author(author, output or Path("author.json"))
        return
    from data_platform.reporting.export import Selection, export_table, format_of, list_tables

    snapshot = settings.snapshot_path
    if lists:
        listed = RichTable("table", "rows", "description", box=None)
        listed.columns[1].justify = "right"
        for found in list_tables(snapshot):
            listed.add_row(found.name, f"{found.row_count:,}", found.description)
        out.print(listed)
        return
    if table is None:
        message = "Name a table to export; data-platform export --list shows them."
        raise ConfigurationError(message)
    chosen = Selection(
        first=first.date() if first else None, last=last.date() if last else None, feeds=feeds
    )
    if output == STANDARD_OUTPUT:
        if file_format not in (None, "csv"):
            message = (
                f"Standard output takes CSV only; name a file with --output for {file_format}."
            )
            raise ConfigurationError(message)
        with tempfile.TemporaryDirectory() as folder:
            written = export_table(snapshot, table, Path(folder) / "rows.csv", "csv", chosen)
            with written.path.open("rb") as rows:
                shutil.copyfileobj(rows, sys.stdout.buffer)
    else:
        file_format = file_format or (format_of(output) if output else "parquet")
        path = output or Path(f"{table}.{file_format}")
        written = export_table(snapshot, table, path, file_format, chosen)
    place = "standard output" if output == STANDARD_OUTPUT else escape(str(written.path))
    err.print(
        f"{table}: {written.row_count:,} rows, {written.size_bytes:,} bytes"
        f" in {written.seconds:.1f} s: {place}"
    )


def _export_author(handle: str, path: Path) -> None:
    from data_platform.commands.refreshing import existing_warehouse
    from data_platform.ingestion.feeds import Feeds
    from data_platform.reporting.subject_access import author_record
    from data_platform.storage.files import replaced
    from data_platform.storage.refusals import explained_output

    settings = load_settings()
    with existing_warehouse(settings).transaction() as transaction:
        record = author_record(transaction, Feeds(settings), handle)
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    waiting = {post["feedback_id"] for post in record["posts_not_loaded"]}
    posts = waiting | {post["feedback_id"] for post in record["posts"]}
    counted = (
        f"{len(posts)} post(s), {len(waiting)} of them with what is not loaded yet,"
        f" {len(record['quarantine'])} record(s) in quarantine"
    )
    if path == STANDARD_OUTPUT:
        click.echo(text)
        return
    with explained_output(path), replaced(path) as draft:  # its owner's alone
        draft.write_text(text + "\n", encoding="utf-8")
    err.print(f"{counted}: {escape(str(path))}")
