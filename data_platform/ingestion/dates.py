"""Dates as sources write them: SQL that reads a whole column, and advice on those that cannot be read."""

from collections.abc import Sequence
from datetime import datetime
from itertools import product

from data_platform.feed_settings import EPOCH_FORMATS, AnyFeed

# ISO 8601 dates, with or without time and zone; the zone as Z, UTC, +01, +0100 or +01:00.
ZONE = r"(Z|z|UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
ISO_TIME = rf"\d{{4}}-\d{{2}}-\d{{2}}([T ]\d{{2}}:\d{{2}}(:\d{{2}}([.,]\d{{1,9}})?)?\s*{ZONE}?)?"
# RFC 5322 3.3 (the weekday is optional), and the dates of Twitter's API v1.1: always with a zone.
ZONED_FORMATS = (
    "%a, %d %b %Y %H:%M:%S %z",
    "%d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %z %Y",
)
EPOCH_UNITS = dict(zip(EPOCH_FORMATS, (1, 1_000, 1_000_000), strict=True))
# An epoch before it is one in the wrong unit, or the 0 that stands for no date.
FIRST_EPOCH_SECOND = 631_152_000  # 1990-01-01T00:00:00Z
LAST_EPOCH_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
# What Python, Arrow and the names of day folders can hold, each with a day to spare for time zones.
FIRST_TIME, LAST_TIME = "1000-01-01 00:00:00+00", "9999-12-30 23:59:59.999999+00"

CLOCKS = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %I:%M %p")
CALENDARS = (
    *(
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%m.%d.%Y",
        "%d-%m-%Y",
        "%m-%d-%Y",
        "%Y/%m/%d",
        "%Y.%m.%d",
    ),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%m.%d.%y", "%d-%m-%y", "%m-%d-%y", "%Y%m%d"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%a %b %d %Y", "%Y-%m-%d"),
)
ZONES = ("", " %z", "%z")


def time_sql(name: str, feed: AnyFeed) -> str:
    """Return SQL that reads the text column `name` as TIMESTAMPTZ.

    Null where it cannot be read under the feed's `posted_at_format` and `timezone`, or where no
    table could hold the date.
    """
    read = f"CAST({_read_sql(name, feed)} AS TIMESTAMPTZ)"
    window = f"TIMESTAMPTZ {sql_text(FIRST_TIME)} AND TIMESTAMPTZ {sql_text(LAST_TIME)}"
    # A date has a digit: DuckDB also reads the words 'epoch' and 'infinity'.
    return f"CASE WHEN regexp_matches({name}, '[0-9]') AND {read} BETWEEN {window} THEN {read} END"


def is_swapped_sql(name: str, feed: AnyFeed) -> str:
    """Return SQL that is true where a date can be read only with day and month exchanged."""
    swapped = swapped_format(feed.posted_at_format)
    return f"try_strptime({name}, {sql_text(swapped)}) IS NOT NULL" if swapped else "FALSE"


def swapped_format(pattern: str | None) -> str | None:
    """Return the format with day and month exchanged; None if it does not hold both as numbers."""
    if pattern is None or "%d" not in pattern or "%m" not in pattern:
        return None
    return pattern.replace("%d", "%\0").replace("%m", "%d").replace("%\0", "%m")


def _read_sql(name: str, feed: AnyFeed) -> str:
    pattern = feed.posted_at_format
    zone = sql_text(feed.timezone)
    if pattern in EPOCH_UNITS:
        seconds = f"TRY_CAST({name} AS DOUBLE) / {EPOCH_UNITS[pattern]}"
        window = f"{FIRST_EPOCH_SECOND} AND {LAST_EPOCH_SECOND}"
        return f"CASE WHEN {seconds} BETWEEN {window} THEN to_timestamp({seconds}) END"
    if pattern is not None:
        parsed = f"try_strptime({name}, {sql_text(pattern)})"
        return parsed if "%z" in pattern or "%Z" in pattern else f"timezone({zone}, {parsed})"
    # The clock part starts at the 11th character; a date's own dashes are no zone.
    clock = f"regexp_replace(replace(substr({name}, 11), ',', '.'), '\\s*(Z|z|UTC)$', '+00:00')"
    clock = f"regexp_replace({clock}, '\\s*([+-]\\d{{2}}):?(\\d{{2}})$', '\\1:\\2')"
    clock = f"regexp_replace({clock}, '\\s+([+-]\\d{{2}})$', '\\1')"
    clock = f"regexp_replace({clock}, '^(.\\d{{2}}:\\d{{2}})([+-]|$)', '\\1:00\\2')"
    is_zoned = f"regexp_matches(substr({name}, 11), {sql_text(ZONE + '$')})"
    # RFC 5322 4.3: GMT and UT are old ways to write +0000; HTTP and RSS still do.
    worded = f"regexp_replace({name}, '\\s(GMT|UTC?|Z)$', ' +0000')"
    formats = ", ".join(sql_text(f) for f in ZONED_FORMATS)
    return f"""CASE
        WHEN NOT regexp_full_match({name}, {sql_text(ISO_TIME)})
            THEN try_strptime({worded}, [{formats}])
        WHEN {is_zoned} THEN TRY_CAST(substr({name}, 1, 10) || {clock} AS TIMESTAMPTZ)
        ELSE timezone({zone}, TRY_CAST({name} AS TIMESTAMP)) END"""


def format_advice(dates: Sequence[str]) -> str:
    """Say which `posted_at_format` would read all of these dates; '' if none is known to."""
    stated = [date.strip() for date in dates if date.strip()]
    if not stated:
        return ""
    if all(date.replace(".", "", 1).isdecimal() for date in stated):
        for unit, per_second in EPOCH_UNITS.items():
            seconds = [float(date) / per_second for date in stated]
            if all(FIRST_EPOCH_SECOND <= s <= 4 * FIRST_EPOCH_SECOND for s in seconds):
                return f"They look like posted_at_format: {unit}."
    if all(len(date) > 10 and date[4] == "-" and date[10] in "T " for date in stated):
        return "They look like ISO 8601: leave posted_at_format out."
    fitting = [
        "".join(parts)
        for parts in product(CALENDARS, CLOCKS, ZONES)
        if all(_fits(date, "".join(parts)) for date in stated)
    ]
    if len(fitting) == 1:
        return f"They look like posted_at_format: {fitting[0]!r}."
    if fitting:
        formats = " or ".join(repr(pattern) for pattern in fitting[:2])
        return f"They could be posted_at_format: {formats}; which one, only their source knows."
    return ""


def _fits(text: str, pattern: str) -> bool:
    try:
        return datetime.strptime(text, pattern).year >= 1000  # noqa: DTZ007 (only whether it fits)
    except ValueError:
        return False


def sql_text(text: str) -> str:
    """Return `text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def sql_texts(texts: Sequence[str]) -> str:
    """Return `texts` as a list of SQL string literals."""
    return ", ".join(map(sql_text, texts))
