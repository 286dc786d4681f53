"""The charts of the report as Vega-Lite specifications, whose data are the rows of the tables beside them."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from data_platform.monitoring.coverage import COLORS as COVERAGE_COLORS
from data_platform.sentiment.calibration import NEGATIVE, POSITIVE
from data_platform.storage.files import replace_text

Rows = Sequence[Mapping[str, Any]]
Spec = dict[str, Any]

# Okabe and Ito 2008, as the colors of feelings.
NEUTRAL = "#999999"
FEED_COLORS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#999999",
)
LABEL_LIMIT = 220
FEELINGS = ("negative", "neutral", "positive")
# What a browser runs: the charts are drawn in the reader's colors, and again when these change.
DRAW_SCRIPT = "window.drawChart = (element, spec, options) => vegaEmbed(element, spec, options);"


def chart_script(folder: Path) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script without dependencies, about 0.9 MB.

    Kept in `folder`: putting it together takes 1.5 CPU-seconds.
    """
    path = folder / f".vega-{version('vl-convert-python')}.js"
    if not path.exists():
        replace_text(path, vl_convert.javascript_bundle(DRAW_SCRIPT))
    return path.read_text(encoding="utf-8")


def volume_chart(
    days: Rows, incidents: Rows, *, feeds: Sequence[str] = (), by_week: bool = False, pick: str = ""
) -> Spec:
    """Return posts a day, stacked by feed, with the first days of incidents marked.

    Args:
        days: date, feed, posts.
        incidents: first_date, what.
        feeds: in the order of their colors, where not all of them are in `days`.
        by_week: a date is the Monday of a week.
        pick: name of a selection of date and feed; without one nothing can be selected.
    """
    x = alt.X("utcyearweek(date):T", title=None, axis=_DAY_AXIS) if by_week else _day("date")
    bars = (
        alt.Chart(_data(days))
        .mark_bar()
        .encode(
            x=x,
            y=alt.Y("sum(posts):Q", title="Posts"),
            color=_feeds(days, feeds),
            detail="date:T",
            tooltip=[
                _when("date", "Week from" if by_week else "Day"),
                alt.Tooltip("feed:N", title="Feed"),
                alt.Tooltip("posts:Q", title="Posts", format=","),
            ],
        )
    )
    if pick:
        bars = _pickable(bars, pick, ["date", "feed"])
    return _spec(alt.layer(bars, *_marks(incidents)), height=240)


def feeling_charts(days: Rows, signals: Rows, incidents: Rows) -> dict[str, Spec]:
    """Return for each feed the negative share by day, over the band that is usual: 'feeling:<feed>'.

    Args:
        days: date, feed, negative_share, negative_low_share, negative_high_share, posts.
        signals: date, feed, low, high, of the measure negative_share.
        incidents: feed, first_date, what.
    """
    feeds = sorted({row["feed"] for row in days})
    charts = {}
    for feed in feeds:
        own = [row for row in days if row["feed"] == feed]
        usual = [row for row in signals if row["feed"] == feed]
        band = (
            alt.Chart(_data(usual))
            .mark_area(opacity=0.25, color=NEUTRAL)
            .encode(x=_day("date"), y=alt.Y("low:Q"), y2="high:Q")
        )
        line = (
            alt.Chart(_data(own))
            .mark_line(color=NEGATIVE, point=alt.OverlayMarkDef(color=NEGATIVE, size=20))
            .encode(
                x=_day("date"),
                y=alt.Y(
                    "negative_share:Q",
                    title="Negative",
                    scale=alt.Scale(domain=[0, 1]),
                    axis=alt.Axis(format="%", tickCount=3),
                ),
                tooltip=[
                    _when("date", "Day"),
                    alt.Tooltip("negative_share:Q", title="Negative", format=".0%"),
                    alt.Tooltip("negative_low_share:Q", title="at least", format=".0%"),
                    alt.Tooltip("negative_high_share:Q", title="at most", format=".0%"),
                    alt.Tooltip("posts:Q", title="Posts", format=","),
                ],
            )
        )
        marks = _marks([row for row in incidents if row["feed"] == feed])
        layers = [*([band] if usual else []), line, *marks]
        charts[f"feeling:{feed}"] = _spec(alt.layer(*layers), height=110)
    return charts


def course_chart(
    days: Rows, incidents: Rows, measure: str, title: str, *, by_week: bool = False, pick: str = ""
) -> Spec:
    """Return a measure by day or week over its 95 % interval, with the first days of incidents marked.

    Args:
        days: date, the measure, posts; measure 'negative_share' has negative_low_share and
            negative_high_share.
        incidents: first_date, what.
        measure: 'negative_share', 0 to 1, or 'net', -1 to 1.
        by_week: a date is the Monday of a week.
        pick: name of a selection of date; without one nothing can be selected.
    """
    is_share = measure == "negative_share"
    color, form = (NEGATIVE, ".0%") if is_share else (POSITIVE, "+.2f")
    y = alt.Y(
        f"{measure}:Q",
        title=title,
        scale=alt.Scale(zero=True),
        axis=alt.Axis(format="%" if is_share else "+.1f", tickCount=5),
    )
    base = alt.Chart(_data([row for row in days if row[measure] is not None]))
    bounds = [
        alt.Tooltip("negative_low_share:Q", title="at least", format=form),
        alt.Tooltip("negative_high_share:Q", title="at most", format=form),
    ]
    points = base.mark_point(filled=True, color=color, size=45, opacity=1).encode(
        x=_day("date"),
        y=y,
        tooltip=[
            _when("date", "Week from" if by_week else "Day"),
            alt.Tooltip(f"{measure}:Q", title=title, format=form),
            *(bounds if is_share else []),
            alt.Tooltip("posts:Q", title="Posts", format=","),
        ],
    )
    if pick:
        points = _pickable(points, pick, ["date"])
    under = (
        base.mark_area(opacity=0.2, color=color).encode(
            x=_day("date"), y=alt.Y("negative_low_share:Q"), y2="negative_high_share:Q"
        )
        if is_share
        else alt.Chart(_data([{"zero": 0}])).mark_rule(color=NEUTRAL).encode(y="zero:Q")
    )
    line = base.mark_line(color=color).encode(x=_day("date"), y=y)
    return _spec(alt.layer(under, line, points, *_marks(incidents)), height=180)


def shares_chart(rows: Rows, title: str, *, pick: str = "") -> Spec:
    """Return the shares of negative, neutral and positive posts of each member, as bars.

    Args:
        rows: name, scored, negative, neutral, positive; in the order to be shown.
        title: what a member is.
        pick: name of a selection of name and feeling; without one nothing can be selected.
    """
    long = [
        {
            "name": row["name"],
            "feeling": feeling,
            "share": row[feeling] / row["scored"],
            "posts": row[feeling],
            "order": order,
        }
        for row in rows
        for order, feeling in enumerate(FEELINGS)
        if row["scored"]
    ]
    chart = (
        alt.Chart(_data(long))
        .mark_bar()
        .encode(
            x=alt.X(
                "share:Q", title=None, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])
            ),
            y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=LABEL_LIMIT)),
            color=alt.Color(
                "feeling:N",
                title=None,
                scale=alt.Scale(domain=list(FEELINGS), range=[NEGATIVE, NEUTRAL, POSITIVE]),
                legend=alt.Legend(orient="top"),
            ),
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("name:N", title=title),
                alt.Tooltip("feeling:N", title="Feeling"),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
                alt.Tooltip("posts:Q", title="Posts", format=","),
            ],
        )
    )
    if pick:
        chart = _pickable(chart, pick, ["name", "feeling"])
    shown = len({row["name"] for row in long})
    return _spec(chart, height=max(26 * shown, 40))


def calibration_chart(rows: Rows) -> Spec:
    """Return what people say of posts by what the model says of them, a line for each feed and truth.

    Args:
        rows: sentiment_calibration.
    """
    points = [
        {
            "place": f"{row['feed']}, {row['truth']}",
            "score": row["mean_compound"],
            **{name: row[f"positive_{name}"] for name in ("share", "low_share", "high_share")},
            "negative": row["negative_share"],
            "posts": row["post_count"],
        }
        for row in rows
    ]
    places = sorted({point["place"] for point in points})
    colors = [FEED_COLORS[number % len(FEED_COLORS)] for number in range(len(places))]
    base = alt.Chart(_data(points)).encode(
        x=alt.X("score:Q", title="Mean score", scale=alt.Scale(domain=[-1, 1])),
        color=alt.Color(
            "place:N",
            title=None,
            scale=alt.Scale(domain=places, range=colors),
            legend=alt.Legend(orient="top", labelLimit=LABEL_LIMIT, columns=3),
        ),
        tooltip=[
            alt.Tooltip("place:N", title="Compared with"),
            alt.Tooltip("score:Q", title="Mean score", format="+.2f"),
            alt.Tooltip("share:Q", title="People say positive", format=".0%"),
            alt.Tooltip("negative:Q", title="People say negative", format=".0%"),
            alt.Tooltip("posts:Q", title="Posts", format=","),
        ],
    )
    share = alt.Y(
        "share:Q",
        title="People say positive",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=5),
    )
    reach = base.mark_rule(opacity=0.4).encode(y=alt.Y("low_share:Q"), y2="high_share:Q")
    return _spec(alt.layer(reach, base.mark_line(point=True).encode(y=share)), height=220)


def coverage_chart(rows: Rows) -> Spec:
    """Return feeds by days, colored by how complete they are.

    Args:
        rows: date, feed, status, covered_share.
    """
    chart = (
        alt.Chart(_data(rows))
        .mark_rect()
        .encode(
            x=_day("date"),
            y=alt.Y("feed:N", title=None, axis=alt.Axis(labelLimit=LABEL_LIMIT)),
            color=alt.Color(
                "status:N",
                title=None,
                scale=alt.Scale(domain=list(COVERAGE_COLORS), range=list(COVERAGE_COLORS.values())),
                legend=alt.Legend(orient="top", columns=3),  # as many as fit a phone
            ),
            tooltip=[
                _when("date", "Day"),
                alt.Tooltip("feed:N", title="Feed"),
                alt.Tooltip("status:N", title="Status"),
                alt.Tooltip("covered_share:Q", title="Collected", format=".0%"),
            ],
        )
    )
    return _spec(chart, height=max(26 * len({row["feed"] for row in rows}), 40))


def _marks(incidents: Rows) -> list[alt.Chart]:
    """Return a rule with a sign on top at the first day of each incident; nothing if there is none."""
    if not incidents:
        return []
    base = alt.Chart(_data(incidents)).encode(
        x=_day("first_date"),
        tooltip=[
            _when("first_date", "Since"),
            alt.Tooltip("what:N", title="Incident"),
        ],
    )
    rule = base.mark_rule(color=NEGATIVE, strokeDash=[4, 3], strokeWidth=2)
    sign = base.mark_point(shape="triangle-down", filled=True, size=90, color=NEGATIVE, opacity=1)
    return [rule, sign.encode(y=alt.value(0))]


def _pickable(chart: alt.Chart, name: str, fields: list[str]) -> alt.Chart:
    """Return a chart of which one mark can be selected; then the others fade."""
    selection = alt.selection_point(name=name, fields=fields, toggle=False)
    return chart.add_params(selection).encode(
        opacity=alt.condition(selection, alt.value(1), alt.value(0.35))
    )


def _feeds(rows: Rows, order: Sequence[str] = ()) -> alt.Color:
    shown = sorted({row["feed"] for row in rows})
    feeds = list(order) or shown
    colors = [FEED_COLORS[number % len(FEED_COLORS)] for number in range(len(feeds))]
    legend = alt.Legend(orient="top", labelLimit=LABEL_LIMIT, columns=_COLUMNS, values=shown)
    return alt.Color(
        "feed:N", title=None, legend=legend, scale=alt.Scale(domain=feeds, range=colors)
    )


# So many entries of a legend stand in a line: on a phone one.
_COLUMNS: Any = alt.ExprRef("max(1, floor(width / 180))")
_DAY_AXIS = alt.Axis(format="%d %b")


def _day(name: str) -> alt.X:
    return alt.X(f"utcyearmonthdate({name}):T", title=None, axis=_DAY_AXIS)


def _when(name: str, title: str) -> alt.Tooltip:
    """Return a day as the tooltip says it: in UTC, wherever the reader is."""
    return alt.Tooltip(f"utcyearmonthdate({name}):T", title=title, format="%a %d %b %Y")


def _data(rows: Rows) -> alt.InlineData:
    """Return rows as the data of a chart, dates as text."""
    return alt.InlineData(
        values=[
            {name: v.isoformat() if hasattr(v, "isoformat") else v for name, v in row.items()}
            for row in rows
        ]
    )


def _spec(chart: Any, height: int) -> Spec:
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    return spec
