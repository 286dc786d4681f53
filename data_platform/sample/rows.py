"""Single posts of the sample, and the row each of them is in the files of its feed."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from data_platform.sample.composition import Drafts, escape_entities
from data_platform.sample.generation import OFFSET_HOURS, social_posts
from data_platform.sample.phrases import LANGUAGES, SENTIMENTS, SHORTS, SentencePool
from data_platform.sample.randomness import Integers
from data_platform.sample.timing import EPOCH

Row = dict[str, Any]
Line = Row | str  # a row, or the text of a line that no reader can take apart
STARS = {"positive": (5, 4, 5, 5), "neutral": (3, 4, 3, 3), "negative": (1, 2, 1, 3)} | {
    "mixed": (3, 2, 4, 3)
}
FIRST_REVIEW_ID = 7_400_000_000_000_000_001  # a JSON number that a double rounds (beyond 2^53)
TEAM_HANDLE = "fonwisp_team"  # agents answer with ready texts: they repeat themselves
UNREADABLE_DATE = "31.02. around noon"
BEFORE_FIRST_DAY = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)  # what a lost date becomes in many tools
FUTURE = dt.datetime(2106, 2, 7, 6, 28, 15, tzinfo=dt.UTC)  # the last second of 32 unsigned bits


@dataclass
class Post:
    """A post as its author meant it; `body` is the text as it stands in the file."""

    written_at: dt.datetime
    day: int
    language: str
    author: str
    body: str
    row: Row


def social_rows(
    drafts: Drafts, written_ms: Integers, _pool: SentencePool, rng: np.random.Generator
) -> list[Row]:
    """Return the rows of `larkwing_social`: every value as text, empty where there is none."""
    rows = social_posts(drafts, written_ms, 0, rng).to_pylist()
    return [{key: "" if v is None else str(v) for key, v in row.items()} for row in rows]


def review_rows(
    drafts: Drafts, written_ms: Integers, pool: SentencePool, rng: np.random.Generator
) -> list[Row]:
    """Return the rows of `kaffeklar_reviews`; language and title are often missing."""
    rows: list[Row] = []
    draws = rng.random((len(written_ms), 6)).tolist()
    columns = (written_ms.tolist(), drafts.language, drafts.sentiment, drafts.author, drafts.body)
    for number, (ms, language, sentiment, author, body) in enumerate(zip(*columns, strict=True)):
        star, title, has_title, has_language, edited, bought = draws[number]
        headline = pool.pick(LANGUAGES[language], SHORTS[sentiment], title)
        written_at = _from_ms(ms)
        edited_at = written_at + dt.timedelta(minutes=1 + int(edited * 1000))
        is_edited = edited < 0.05 and edited_at.date() == written_at.date()  # before its delivery
        row: Row = {
            "review_id": FIRST_REVIEW_ID + number * 20_014,
            "submitted_at": _zulu(written_at),
            "edited_at": _zulu(edited_at) if is_edited else None,
            "stars": STARS[SENTIMENTS[sentiment]][int(star * 4)] if star < 0.98 else None,
            "headline": headline[0].upper() + headline[1:] if has_title < 0.85 else None,
            "review": body.as_py(),
            "reviewer": author.as_py(),
            "verified": bought < 0.8,
            "link": f"https://kaffeklar.example/reviews/{number + 1}",
        }
        if has_language < 0.7:
            row["lang"] = LANGUAGES[language] if has_language < 0.6 else None
        rows.append(row)
    return rows


def support_rows(
    drafts: Drafts, written_ms: Integers, pool: SentencePool, rng: np.random.Generator
) -> list[Row]:
    """Return the rows of `fonwisp_support`: threads in which customers and agents take turns.

    Only German messages lack their language.
    """
    rows: list[Row] = []
    threads: dict[str, list[list[Row]]] = {language: [] for language in LANGUAGES}
    draws = rng.random((len(written_ms), 5)).tolist()
    columns = (written_ms.tolist(), drafts.language, drafts.author, drafts.body)
    for number, (ms, code, author, body) in enumerate(zip(*columns, strict=True)):
        joins, choice, answers, phrase, has_language = draws[number]
        language = LANGUAGES[code]
        row: Row = {
            "message_id": f"{130 + number * 7:010d}",
            "ticket_id": f"{480 + number:08d}",
            "reply_to": None,
            "written_at": _from_ms(ms).astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None),
            "customer": author.as_py(),
            "language": None if language == "de" and has_language < 0.5 else language,
            "message": body.as_py(),
            "removed": False,
        }
        recent = threads[language][-6:]
        if joins < 0.5 and recent:
            thread = recent[int(choice * len(recent))]
            row["ticket_id"] = thread[0]["ticket_id"]
            row["reply_to"] = thread[-1]["message_id"]
            row["customer"] = thread[0]["customer"]
            if answers < 0.6 and thread[-1]["customer"] == row["customer"]:
                row["customer"] = f"{TEAM_HANDLE}_{1 + int(choice * 5)}"
                row["message"] = pool.pick(language, "agent", phrase)
            thread.append(row)
        else:
            threads[language].append([row])
        rows.append(row)
    return rows


RowMaker = Callable[[Drafts, Integers, SentencePool, np.random.Generator], list[Row]]
ROW_MAKERS: dict[str, RowMaker] = {
    "larkwing_social": social_rows,
    "kaffeklar_reviews": review_rows,
    "fonwisp_support": support_rows,
}
COLUMNS = {  # of id, date, text and author
    "larkwing_social": ("post_id", "created_at", "text", "author"),
    "kaffeklar_reviews": ("review_id", "submitted_at", "review", "reviewer"),
    "fonwisp_support": ("message_id", "written_at", "message", "customer"),
}


def edited_row(feed: str, row: Row, body: str, edited_at: dt.datetime) -> Row:
    """Return `row` with another text; reviews say when, and lose or win a star."""
    edited = row | {COLUMNS[feed][2]: body}
    if feed == "kaffeklar_reviews":
        edited["edited_at"] = _zulu(edited_at)
        if row["stars"] is not None:
            edited["stars"] = row["stars"] + (1 if row["stars"] < 3 else -1)
    return edited


def deleted_row(feed: str, row: Row) -> Row:
    """Return `row` as its deletion is delivered; the support tool takes the text away."""
    if feed == "larkwing_social":
        return row | {"deleted": "true"}
    return row | {"removed": True, "message": None}


def broken_line(feed: str, row: Row, reason: str, number: int) -> Line:
    """Return `row` broken in the way that `reason` names; `number` varies the way."""
    id_column, date_column, body_column, author_column = COLUMNS[feed]
    is_social = feed == "larkwing_social"
    if reason == "too_few_columns":
        return ",".join(row[column] for column in (id_column, date_column, author_column))
    if reason == "malformed_json":
        line = json.dumps(row, ensure_ascii=False)
        return line[: len(line) * 2 // 3]
    if reason == "missing_id":
        if number % 2 and not is_social:
            return {column: value for column, value in row.items() if column != id_column}
        return row | {id_column: "" if is_social else None}
    if reason == "empty_body":
        return row | {body_column: "" if is_social or number % 2 else None}
    if reason == "unreadable_date":
        return row | {date_column: UNREADABLE_DATE}
    date = {"future_date": FUTURE, "date_before_first_day": BEFORE_FIRST_DAY}[reason]
    return row | {date_column: _with_offset(date) if is_social else _zulu(date)}


def as_in_file(feed: str, body: str) -> str:
    """Return a text of our phrases as it stands in the files of `feed`."""
    if feed != "larkwing_social":
        return body
    escaped: str = escape_entities(pa.array([body]))[0].as_py()
    return escaped


def _from_ms(ms: int) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=ms // 1000)


def _zulu(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_offset(moment: dt.datetime) -> str:
    local = moment.astimezone(dt.timezone(dt.timedelta(hours=OFFSET_HOURS)))
    return local.strftime("%Y-%m-%d %H:%M:%S %z")
