"""The commands about sentiment models: which have scored, which is current, and judging posts by hand."""

import json
import secrets
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from data_platform.commands.refreshing import existing_warehouse
from data_platform.errors import ConfigurationError
from data_platform.printable import one_line
from data_platform.settings import load_settings

out = Console(highlight=False, soft_wrap=True)

SHOWN_CHARACTERS = 2000
KEYS = {"n": "negative", "u": "neutral", "p": "positive"}
SKIP, UNDO, QUIT = "s", "z", "q"


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models that have scored, and how their scores differ on the same texts."""
    if ctx.invoked_subcommand:
        return
    from data_platform.sentiment.comparison import read_models

    with existing_warehouse(load_settings()).transaction() as transaction:
        found = read_models(transaction)
        differences = transaction.arrow("SELECT * FROM model_comparison ORDER BY ALL").to_pylist()
    if as_json:
        document = {"models": found, "comparison": differences}
        click.echo(json.dumps(document, indent=2, default=str))
        return
    table = RichTable("model", "version", "fingerprint", "scores", "last scored", "", box=None)
    for model in found:
        table.add_row(
            str(model["model_name"]),
            str(model["model_version"]),
            str(model["model_fingerprint"])[:12],
            f"{model['score_count']:,}",
            str(model["last_scored_at"])[:19],
            "current" if model["is_active"] else "",
        )
    out.print(table)
    for row in differences:
        judged = ""
        if row["judged_count"]:
            judged = (
                f"; right of {row['judged_count']:,} judged: {row['former_right_share']:.1%}"
                f" before, {row['right_share']:.1%} now"
            )
        out.print(
            f"{row['feed']}: {row['former_fingerprint'][:12]} → {row['model_fingerprint'][:12]}:"
            f" {row['agreement_share']:.1%} of {row['post_count']:,} labels agree, compound moves by"
            f" {row['mean_absolute_difference']:.3f} in the mean, negative"
            f" {row['former_negative_share']:.1%} → {row['negative_share']:.1%}{judged}"
        )


@models.command()
@click.argument("fingerprint")
def activate(fingerprint: str) -> None:
    """Make the scores of the model FINGERPRINT (its first characters) the current ones."""
    from data_platform.sentiment.comparison import activate_model

    with existing_warehouse(load_settings()).transaction() as transaction:
        identity = activate_model(transaction, fingerprint)
    out.print(
        f"Current: {identity.name} {identity.version} ({identity.fingerprint[:12]})."
        " data-platform run brings marts and report up to date."
    )


@click.command()
@click.option("--feed", help="Posts of this feed only.")
@click.option("--language", help="Posts in this language only (ISO 639 code).")
@click.option(
    "--count", type=click.IntRange(1, 1000), default=20, show_default=True, help="Posts to judge."
)
def label(feed: str | None, language: str | None, count: int) -> None:
    """Show posts, one by one, and keep what you say of them: it tells how right the scores are.

    The score is not shown before you have judged. Posts that the model is unsure of take turns with
    posts drawn by lot, over all feeds and classes.
    """
    from data_platform.sentiment.labelling import forget_labels, keep_label, posts_to_label

    settings = load_settings()
    if feed is not None:
        settings.feed(feed)
    warehouse = existing_warehouse(settings)
    with warehouse.transaction() as transaction:
        posts = posts_to_label(
            transaction, count, seed=secrets.token_hex(8), feed=feed, language=language
        ).to_pylist()
    if not posts:
        out.print("No scored post is left to be judged.")
        return
    out.print("n negative   u neutral   p positive   s skip   z take the last one back   q end")
    judged: list[tuple[dict[str, Any], str]] = []
    place = 0
    while place < len(posts):
        post = posts[place]
        text = one_line(post["body_clean"], SHOWN_CHARACTERS)
        out.print(
            f"\n[bold]{place + 1} of {len(posts)}[/bold]  {post['feed']}, {post['language']},"
            f" {post['posted_at']:%Y-%m-%d}\n{escape(text)}"
        )
        key = _ask()
        if key == QUIT:
            break
        if key == UNDO:
            if judged:
                former, _ = judged.pop()
                with warehouse.transaction() as transaction:
                    forget_labels(transaction, [former["feedback_id"]])
                place = posts.index(former)
            continue
        place += 1
        if key == SKIP:
            continue
        with warehouse.transaction() as transaction:
            keep_label(
                transaction,
                post["feedback_id"],
                post["scored_text_hash"],
                KEYS[key],
                post["selection"],
                datetime.now(UTC),
            )
        judged.append((post, KEYS[key]))
        out.print(f"{KEYS[key]}; the model: {post['label']} ({post['compound']:+.2f})")
    counts = Counter(said for _, said in judged)
    right = sum(post["label"] == said for post, said in judged)
    told = ", ".join(f"{counts[name]} {name}" for name in KEYS.values())
    out.print(
        f"\nKept: {len(judged)} ({told}); the model agrees with {right}. The next data-platform run"
        " takes them into sentiment_evaluation."
    )


def _ask() -> str:
    """Return a key that means something; the end of the input ends the round."""
    while True:
        try:
            key = click.getchar(echo=False).lower()
        except (EOFError, KeyboardInterrupt):
            return QUIT
        except OSError as error:  # click opens the terminal where standard input is none
            message = "There is no terminal to ask at; run data-platform label in one."
            raise ConfigurationError(message) from error
        if key in {*KEYS, SKIP, UNDO, QUIT}:
            return key
        if key in {"", "\x04", "\x1b"}:
            return QUIT
