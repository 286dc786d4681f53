"""The dashboard: a Streamlit page over the published snapshot, which it follows.

What customers wrote goes to tables, charts and inputs, which take it for text. It never goes to
labels, captions and messages, which Streamlit takes for Markdown.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pyarrow as pa
import streamlit as st

from data_platform.errors import DataPlatformError
from data_platform.reporting import explore
from data_platform.reporting.charts import (
    FEED_COLORS,
    Spec,
    course_chart,
    coverage_chart,
    shares_chart,
    volume_chart,
)
from data_platform.reporting.explore import Filter, Identity, Order, Rows, Scope, Snapshot
from data_platform.reporting.safe_text import plain

LOOK_EVERY_SECONDS = 3
PERIODS = (7, 14, 28, 90, 365)
ALL_DAYS, OWN_DAYS = "All days", "Own days"
WEEKS_FROM_DAYS = 120  # from this length on, charts add days up to weeks
PAGE_POSTS = 50
SEARCH_CHARACTERS = 200
TEXT_CHARACTERS = 2_000
ROW_PIXELS, HEADER_PIXELS, ROWS_SEEN = 72, 38, 8
AXIS_PIXELS, LEGEND_PIXELS = 40, 120  # below and above a chart: Streamlit counts them in its height
FILTER_KEYS = ("period", "own_days", "feeds", "languages", "topics", "labels", "search")
PICK = "pick"


@dataclass(frozen=True)
class Data:
    """What one state of the snapshot tells under the reader's filter."""

    snapshot: Snapshot
    scope: Scope
    wanted: Filter
    counts: pa.Table

    def sums(self, wanted: Filter, *by: explore.Group, drawn: Sequence[str] = ()) -> Rows:
        return explore.sums(self.snapshot.connection, self.counts, wanted, by, drawn)


def show(path: Path) -> None:
    """Draw the page over the snapshot at `path`; called again at each interaction."""
    st.set_page_config(page_title="Customer feedback", layout="wide")
    _follow(path, explore.identity_of(path))
    try:
        with explore.opened(path) as snapshot:
            _show_snapshot(path, snapshot)
    except FileNotFoundError:
        st.title("Customer feedback")
        st.info(
            "Nothing is published yet. `data-platform run` collects, scores and publishes; this"
            " page then shows it by itself."
        )
    except DataPlatformError as error:
        st.title("Customer feedback")
        st.error("The snapshot cannot be read:")
        st.text(str(error))


@st.fragment(run_every=LOOK_EVERY_SECONDS)
def _follow(path: Path, shown: Identity | None) -> None:
    """Draw the page anew when another snapshot than `shown` is published."""
    if explore.identity_of(path) != shown:
        st.rerun()


def _show_snapshot(path: Path, snapshot: Snapshot) -> None:
    scope = _scope(snapshot)
    st.title("Customer feedback")
    published = f"Published {snapshot.published_at:%d %b %Y, %H:%M:%S} UTC"
    if scope.first is None or scope.last is None:
        st.caption(published)
        st.info("The snapshot holds no posts yet. `data-platform run` collects what is new.")
        return
    st.caption(
        f"{published} · {scope.post_count:,} posts from {_span(scope.first, scope.last)}"
        " · days are UTC"
    )
    wanted = _ask_filter(scope, scope.first, scope.last)
    feedback, quality = st.tabs(
        ["Feedback", "Feeds and quality"], key="tab", on_change="rerun", default="Feedback"
    )
    if feedback.open:
        with feedback:
            _show_feedback(path, snapshot, scope, wanted)
    if quality.open:
        with quality:
            _show_quality(snapshot, wanted)


def _ask_filter(scope: Scope, first: date, last: date) -> Filter:
    """Ask in the sidebar for what to show; every change gives the selections of charts up."""
    state = st.session_state
    lengths = [days for days in PERIODS if days < (last - first).days + 1]
    periods = [f"Last {days} days" for days in lengths] + [ALL_DAYS, OWN_DAYS]
    usual = [days for days in lengths if days <= 28 and 2 * days <= (last - first).days + 1]
    # What is gone with a new snapshot cannot stay chosen.
    for key, there in (
        ("feeds", scope.feeds),
        ("languages", scope.languages),
        ("topics", scope.topics),
    ):
        state[key] = [name for name in state.get(key, []) if name in there]
    if not all(first <= day <= last for day in state.get("own_days", ())):
        del state["own_days"]
    if state.get("period") not in periods:
        state["period"] = f"Last {usual[-1]} days" if usual else ALL_DAYS
    with st.sidebar:
        st.header("Filters")
        st.text_input(
            "Search in texts",
            key="search",
            max_chars=SEARCH_CHARACTERS,
            placeholder="words, in any order",
            on_change=_give_up_picks,
        )
        st.selectbox("Period", periods, key="period", on_change=_give_up_picks)
        begin, end = first, last
        if state["period"] == OWN_DAYS:
            chosen: Any = st.date_input(
                "Days",
                value=(max(first, last - timedelta(days=6)), last),
                min_value=first,
                max_value=last,
                key="own_days",
                on_change=_give_up_picks,
            )
            if chosen:
                begin, end = chosen[0], chosen[-1]  # one day, while the second is being chosen
        elif state["period"] != ALL_DAYS:
            begin = last - timedelta(days=int(state["period"].split()[1]) - 1)
        _ask("Feeds", "feeds", scope.feeds)
        _ask("Languages", "languages", scope.languages)
        if scope.topics:
            _ask("Topics", "topics", scope.topics)
        _ask("Labels", "labels", explore.LABELS)
        st.button("Reset", on_click=_reset, width="stretch")
    feeds, languages, topics, labels = (
        tuple(state.get(key, ())) for key in ("feeds", "languages", "topics", "labels")
    )
    return Filter(begin, end, feeds, languages, topics, labels, state["search"])


def _ask(name: str, key: str, options: Sequence[str]) -> None:
    st.multiselect(
        name,
        options,
        key=key,
        format_func=lambda option: plain(option, 60),
        placeholder="all",
        on_change=_give_up_picks,
    )


def _give_up_picks() -> None:
    """Forget what is selected in charts, and the page: charts with other keys are new ones."""
    st.session_state["picks"] = st.session_state.get("picks", 0) + 1


def _reset() -> None:
    for key in FILTER_KEYS:
        st.session_state.pop(key, None)
    _give_up_picks()


_BY_IDENTITY: Any = {Snapshot: lambda snapshot: snapshot.identity}


@st.cache_data(max_entries=4, show_spinner=False, hash_funcs=_BY_IDENTITY)
def _scope(snapshot: Snapshot) -> Scope:
    return explore.read_scope(snapshot.connection)


@st.cache_data(max_entries=32, show_spinner="Counting …", hash_funcs=_BY_IDENTITY)
def _counts(snapshot: Snapshot, wanted: Filter) -> pa.Table:
    return explore.daily_counts(snapshot.connection, wanted)


@st.cache_data(max_entries=32, show_spinner="Reading …", hash_funcs=_BY_IDENTITY)
def _page(snapshot: Snapshot, wanted: Filter, order: Order, page: int) -> pa.Table:
    start = (page - 1) * PAGE_POSTS
    return _shown(explore.posts(snapshot.connection, wanted, order, PAGE_POSTS, start), "text")


def _shown(table: pa.Table, name: str) -> pa.Table:
    """Return a table with a column of text made fit to be shown."""
    texts = [
        None if text is None else plain(text, TEXT_CHARACTERS) for text in table[name].to_pylist()
    ]
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, pa.array(texts, pa.string()))


def _show_feedback(path: Path, snapshot: Snapshot, scope: Scope, wanted: Filter) -> None:
    counted = replace(wanted, labels=())  # one count serves every choice of labels
    data = Data(snapshot, scope, wanted, _counts(snapshot, counted))
    (total,) = data.sums(wanted)
    _show_cards(data, total)
    if not total["posts"]:
        st.info("No post matches the filters. Widen the period, or reset the filters.")
        return
    narrowed = _show_charts(data)
    _show_posts(path, data, narrowed)
    _show_terms(data)


def _show_cards(data: Data, total: dict[str, Any]) -> None:
    wanted, before = data.wanted, data.wanted.before
    is_comparable = data.scope.first is not None and data.scope.first <= before.first
    past: dict[str, Any] = {"posts": None, "negative_share": None, "net": None}
    if is_comparable:
        counts = _counts(data.snapshot, replace(before, labels=()))
        (past,) = explore.sums(data.snapshot.connection, counts, before)
    st.caption(
        f"{_span(wanted.first, wanted.last)}, compared with {_span(before.first, before.last)}"
        if is_comparable
        else f"{_span(wanted.first, wanted.last)}; the posts do not reach back far enough to"
        " compare with the time before"
    )
    growth = total["posts"] / past["posts"] - 1 if past["posts"] and total["posts"] else None
    share, moved = total["negative_share"], _change(total, past, "negative_share")
    low, high = (total[f"negative_{end}_share"] for end in ("low", "high"))
    turned = _change(total, past, "net")
    everything = total["scored"] + (total["rest"] or 0)
    posts, negative, net, scored = (
        column.container(border=True, height="stretch") for column in st.columns(4)
    )
    posts.metric(
        "Posts",
        _figure(total["posts"]),
        None if growth is None else f"{growth:+.0%}",
        delta_color="off",
    )
    posts.caption(f"{_figure(round((total['posts'] or 0) / wanted.day_count))} a day")
    negative.metric(
        "Negative",
        "–" if share is None else f"{share:.1%}",
        None if moved is None else f"{100 * moved:+.1f} points",
        delta_color="inverse",
        help="Negative posts among those with a score, and the 95 % Wilson interval. Labels do not narrow it.",
    )
    negative.caption(
        "none has a score" if share is None else f"95 %: {100 * low:.1f} to {100 * high:.1f} %"
    )
    net.metric(
        "Net sentiment",
        "–" if total["net"] is None else f"{total['net']:+.2f}".replace("-", "−"),
        None if turned is None else f"{turned:+.2f}",
        help="Positive less negative posts, over those with a score. Labels do not narrow it.",
    )
    net.caption("from −1 to +1")
    scored.metric(
        "With a score",
        f"{total['scored'] / everything:.0%}" if everything else "–",
        help="The model scores the languages that it knows.",
    )
    scored.caption("of the posts")


def _change(now: dict[str, Any], past: dict[str, Any], name: str) -> float | None:
    """Return by how much a value moved; None where one of the two is unknown."""
    if now[name] is None or past[name] is None:
        return None
    return float(now[name] - past[name])


def _show_charts(data: Data) -> Filter:
    """Draw the charts; return the filter with what is selected in them."""
    wanted = data.wanted
    by_week = wanted.day_count > WEEKS_FROM_DAYS
    time: explore.Group = "week" if by_week else "date"
    marks = _marks(explore.incidents(data.snapshot.connection, wanted), wanted)
    feeds = data.scope.feeds
    drawn = sorted(feeds if len(feeds) <= len(FEED_COLORS) else feeds[: len(FEED_COLORS) - 1])
    order = drawn if len(drawn) == len(feeds) else [*drawn, explore.OTHER_FEEDS]
    step = "week" if by_week else "day"
    st.subheader(f"Posts a {step}")
    volume = volume_chart(
        data.sums(wanted, time, "feed", drawn=drawn), marks, feeds=order, by_week=by_week, pick=PICK
    )
    chosen = _chart(
        "volume", volume, f"Posts a {step}, by feed", _volume_filter(data, by_week, drawn)
    )
    course = data.sums(wanted, time)
    columns = st.columns(2)
    for column, measure, title in zip(
        columns,
        ("negative_share", "net"),
        ("Negative share", "Net sentiment"),
        strict=True,
    ):
        with column:
            st.subheader(title)
            spec = course_chart(course, marks, measure, title, by_week=by_week, pick=PICK)
            chosen |= _chart(measure, spec, f"{title} by {step}", _day_filter(by_week), AXIS_PIXELS)
    st.caption(
        "The band is the 95 % interval of the share."
        + (" A dashed line is the beginning of an incident; point at it." if marks else "")
    )
    members: list[tuple[str, explore.Group, str]] = [
        ("By feed", "feed", "feeds"),
        ("By language", "language", "languages"),
    ]
    if data.scope.topics:
        members.append(("By topic", "topic", "topics"))
    columns = st.columns(2)
    for number, (title, group, field) in enumerate(members):
        with columns[number] if number < len(columns) else st.container():
            st.subheader(title)
            chosen |= _show_members(data, title, group, field)
    narrowed = replace(wanted, **chosen)
    # A week may begin or end outside of the period.
    return replace(
        narrowed,
        first=max(narrowed.first, wanted.first),
        last=min(narrowed.last, wanted.last),
    )


def _marks(incidents: Rows, wanted: Filter) -> Rows:
    """Return first_date and what happened then, one row a day."""
    happened: dict[date, list[str]] = {}
    for row in incidents:
        happened.setdefault(max(row["first_date"], wanted.first), []).append(row["what"])
    return [
        {"first_date": day, "what": plain("; ".join(what), 240)} for day, what in happened.items()
    ]


def _show_members(data: Data, title: str, group: explore.Group, field: str) -> dict[str, Any]:
    rows = [row for row in data.sums(data.wanted, group) if row["scored"] and row[group]]
    if not rows:
        st.caption("None of these posts has a score.")
        return {}
    rows = sorted(rows, key=lambda row: -row["posts"])[: explore.MEMBERS_SHOWN]
    names = {plain(row[group], 60): row[group] for row in rows}
    spec = shares_chart(
        [{**row, "name": plain(row[group], 60)} for row in rows], group.capitalize(), pick=PICK
    )

    def narrowed(selected: dict[str, Any]) -> dict[str, Any]:
        return {field: (names[selected["name"]],), "labels": (selected["feeling"],)}

    return _chart(group, spec, title, narrowed)


Narrowing = Callable[[dict[str, Any]], dict[str, Any]]


def _day_filter(by_week: bool) -> Narrowing:
    def narrowed(selected: dict[str, Any]) -> dict[str, Any]:
        first = datetime.fromtimestamp(selected["date"] / 1000, UTC).date()
        return {"first": first, "last": first + timedelta(days=6) if by_week else first}

    return narrowed


def _volume_filter(data: Data, by_week: bool, drawn: Sequence[str]) -> Narrowing:
    in_days = _day_filter(by_week)

    def narrowed(selected: dict[str, Any]) -> dict[str, Any]:
        feed = selected["feed"]
        others = tuple(name for name in data.wanted.feeds or data.scope.feeds if name not in drawn)
        return in_days(selected) | {"feeds": others if feed == explore.OTHER_FEEDS else (feed,)}

    return narrowed


def _chart(
    key: str, spec: Spec, alt: str, narrowed: Narrowing, room: int = LEGEND_PIXELS
) -> dict[str, Any]:
    """Draw a chart; return what is selected in it as changes of the filter."""
    event: Any = st.vega_lite_chart(
        spec=spec,
        height=spec["height"] + room,
        key=f"{key} {st.session_state.get('picks', 0)}",
        on_select=_first_page,
        alt=alt,
    )
    selected = event.selection.get(PICK) or []
    return narrowed(selected[0]) if selected else {}


def _first_page() -> None:
    st.session_state["page"] = 1


def _show_posts(path: Path, data: Data, narrowed: Filter) -> None:
    st.subheader("Posts")
    (total,) = data.sums(narrowed)
    count = total["posts"] or 0
    if narrowed != data.wanted:
        said, back = st.columns([4, 1], vertical_alignment="center")
        said.text(f"Selected in the charts: {_said(data.wanted, narrowed)}")
        back.button("Show all", on_click=_give_up_picks, width="stretch")
    else:
        st.caption("Select a bar or a point in a chart to see its posts; select nothing to leave.")
    ordered, paged, saved = st.columns([2, 2, 2], vertical_alignment="bottom")
    order: Order = ordered.selectbox("Order", explore.ORDERS, key="order", on_change=_first_page)
    pages = max(1, ceil(count / PAGE_POSTS))
    st.session_state["page"] = min(st.session_state.get("page", 1), pages)
    page = paged.number_input(f"Page, of {pages:,}", 1, pages, key="page", disabled=pages == 1)
    saved.download_button(
        "Download as CSV",
        data=lambda: _csv(path, narrowed, order),
        file_name=f"feedback_{narrowed.first}_{narrowed.last}.csv",
        mime="text/csv",
        on_click="ignore",
        width="stretch",
        disabled=not count,
        help=f"These posts in this order, at most the first {explore.CSV_POSTS:,}. Text that a"
        " spreadsheet would take for a formula begins with an apostrophe.",
    )
    if not count:
        st.info("No post matches the selection.")
        return
    found = _page(data.snapshot, narrowed, order, int(page))
    column = st.column_config
    st.dataframe(
        found if data.scope.topics else found.drop_columns(["topic"]),
        hide_index=True,
        row_height=ROW_PIXELS,
        height=HEADER_PIXELS + ROW_PIXELS * min(found.num_rows, ROWS_SEEN),
        placeholder="",
        alt="Posts",
        column_order=(
            "posted_at",
            "text",
            "label",
            "compound",
            "feed",
            "language",
            "topic",
            "like_count",
            "share_count",
            "reply_count",
        ),
        column_config={
            "posted_at": column.DatetimeColumn("Date", format="D MMM YYYY, HH:mm", timezone="UTC"),
            "text": column.TextColumn("Text", width=440),
            "label": column.TextColumn("Label"),
            "compound": column.NumberColumn("Compound", format="%+.2f"),
            "feed": column.TextColumn("Feed"),
            "language": column.TextColumn("Language"),
            "topic": column.TextColumn("Topic"),
            "like_count": column.NumberColumn("Likes"),
            "share_count": column.NumberColumn("Shares"),
            "reply_count": column.NumberColumn("Replies"),
        },
    )
    first = (int(page) - 1) * PAGE_POSTS + 1
    limit = f"; the CSV holds the first {explore.CSV_POSTS:,}" if count > explore.CSV_POSTS else ""
    st.caption(f"{first:,} to {first + found.num_rows - 1:,} of {count:,} posts{limit}")


def _csv(path: Path, wanted: Filter, order: Order) -> bytes:
    with explore.opened(path) as snapshot:
        return explore.posts_csv(snapshot.connection, wanted, order)


def _said(wanted: Filter, narrowed: Filter) -> str:
    """Return what is selected, as plain text."""
    parts = []
    if (narrowed.first, narrowed.last) != (wanted.first, wanted.last):
        parts.append(_span(narrowed.first, narrowed.last))
    parts += [
        ", ".join(plain(member, 60) for member in getattr(narrowed, name))
        for name in ("feeds", "languages", "topics", "labels")
        if getattr(narrowed, name) != getattr(wanted, name)
    ]
    return " · ".join(parts)


def _show_terms(data: Data) -> None:
    st.subheader("Rising terms")
    periods = explore.term_periods(data.snapshot.connection)
    if not periods:
        st.caption("No term stands out.")
        return
    period = st.selectbox(
        "Terms of",
        periods,
        format_func=lambda days: _span(*days),
        width=320,
        help="The latest seven days and the latest incidents, each against the 28 days before.",
    )
    terms = explore.rising_terms(data.snapshot.connection, period, data.wanted)
    if not terms.num_rows:
        st.caption("No term stands out in these feeds and languages.")
        return

    def search() -> None:
        rows = st.session_state[key].selection.rows
        if rows:
            st.session_state["search"] = terms["term"][rows[0]].as_py()[:SEARCH_CHARACTERS]
            _give_up_picks()

    key = f"terms {st.session_state.get('picks', 0)}"
    column = st.column_config
    st.dataframe(
        _shown(terms, "term"),
        hide_index=True,
        key=key,
        on_select=search,
        selection_mode="single-row",
        placeholder="–",
        alt="Rising terms",
        column_config={
            "term": column.TextColumn("Term", width="medium"),
            "feed": column.TextColumn("Feed"),
            "language": column.TextColumn("Language"),
            "post_count": column.NumberColumn("Posts"),
            "share": column.NumberColumn("Share", format="percent"),
            "baseline_share": column.NumberColumn("Before", format="percent"),
            "net_sentiment_share": column.NumberColumn("Net sentiment", format="%+.2f"),
        },
    )
    st.caption("Select a row to search for its words. Shares are of a sample of posts.")


def _show_quality(snapshot: Snapshot, wanted: Filter) -> None:
    column = st.column_config
    moment = "D MMM YYYY, HH:mm"
    st.subheader("Feeds")
    health = explore.source_health(snapshot.connection)
    health = _shown(health, "last_error")
    if not health.num_rows:
        st.caption("No feed was collected yet.")
    else:
        st.dataframe(
            health,
            hide_index=True,
            placeholder="–",
            alt="Feeds",
            column_order=(
                "feed",
                "last_collected_at",
                "last_posted_at",
                "post_count",
                "read_count",
                "quarantined_share",
                "quarantined_count",
                "deleted_count",
                "late_count",
                "complete_days",
                "days",
                "last_error",
            ),
            column_config={
                "feed": column.TextColumn("Feed"),
                "last_collected_at": column.DatetimeColumn(
                    "Last collected", format=moment, timezone="UTC"
                ),
                "last_posted_at": column.DatetimeColumn(
                    "Latest post", format=moment, timezone="UTC"
                ),
                "post_count": column.NumberColumn("Posts", format="localized"),
                "read_count": column.NumberColumn("Read", format="localized"),
                "quarantined_share": column.NumberColumn("In quarantine", format="percent"),
                "quarantined_count": column.NumberColumn("Records there", format="localized"),
                "deleted_count": column.NumberColumn("Deleted", format="localized"),
                "late_count": column.NumberColumn("Late", format="localized"),
                "complete_days": column.NumberColumn("Complete days"),
                "days": column.NumberColumn("of days"),
                "last_error": column.TextColumn("Error", width="large"),
            },
        )
    st.subheader("Days that are collected")
    covered = explore.coverage(snapshot.connection, wanted.first, wanted.last)
    if covered:
        spec = coverage_chart(covered)
        st.vega_lite_chart(
            spec=spec, height=spec["height"] + LEGEND_PIXELS, alt="Collected days by feed"
        )
    else:
        st.caption("Nothing is known of these days.")
    st.subheader("Incidents")
    unusual = [
        {
            "Since": row["first_date"],
            "Until": row["last_date"] if row["is_over"] else None,
            "What": plain(row["what"], 120),
            "Observed": _measured(row["observed"], row["measure"]),
            "Expected": _measured(row["expected"], row["measure"]),
        }
        for row in explore.incidents(snapshot.connection, wanted)
    ]
    if unusual:
        st.dataframe(
            unusual,
            hide_index=True,
            placeholder="goes on",
            alt="Incidents",
            column_config={
                "Since": column.DateColumn(format="D MMM YYYY"),
                "Until": column.DateColumn(format="D MMM YYYY"),
                "What": column.TextColumn(width="large"),
                "Observed": column.TextColumn(),
                "Expected": column.TextColumn(),
            },
        )
    else:
        st.caption("None in these days and feeds.")
    st.subheader("How far to trust the scores")
    compared = explore.agreement(snapshot.connection)
    if compared.num_rows:
        st.dataframe(
            compared,
            hide_index=True,
            placeholder="–",
            alt="Agreement of the scores with people",
            column_config={
                "feed": column.TextColumn("Feed"),
                "truth": column.TextColumn("Compared with"),
                "sample_count": column.NumberColumn("Posts", format="localized"),
                "precision_share": column.NumberColumn("Precision", format="percent"),
                "recall_share": column.NumberColumn("Recall", format="percent"),
                "f1_share": column.NumberColumn("F1", format="%.2f"),
                "f1_low_share": column.NumberColumn("F1 at least", format="%.2f"),
                "f1_high_share": column.NumberColumn("F1 at most", format="%.2f"),
            },
        )
    else:
        st.caption("No feed brings labels or ratings, so nothing says how right the scores are.")


def _measured(value: float, measure: str) -> str:
    return f"{value:.0%} negative" if measure == "negative_share" else f"{value:,.0f} posts"


def _figure(value: int | None) -> str:
    return f"{value or 0:,}"


def _span(first: date, last: date) -> str:
    """Return days in words: '14 to 27 Nov 2026'."""
    if first == last:
        return f"{last:%d %b %Y}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first:%d} to {last:%d %b %Y}"
    return f"{first:%d %b %Y} to {last:%d %b %Y}"


if __name__ == "__main__":
    show(Path(sys.argv[1]))
