"""The report: one HTML file that needs no network and shows the published snapshot to people."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import jinja2
from markupsafe import Markup

from data_platform.reporting.charts import (
    Spec,
    calibration_chart,
    chart_script,
    coverage_chart,
    feeling_charts,
    shares_chart,
    volume_chart,
)
from data_platform.reporting.safe_text import plain
from data_platform.reporting.state import ERROR, Finding
from data_platform.sentiment.intervals import wilson_sql
from data_platform.storage.files import replace_text
from data_platform.storage.refusals import PUBLISH_ANEW, explained, explained_output

MAX_DAYS_SHOWN = 400
RECENT_DAYS = 28
TABLE_DAYS = 60  # newest days in the tables beside charts
FEEDS_DRAWN = 8
MEMBERS_SHOWN = 15
EXAMPLES = 3
POSTS_SHOWN = 5
INCIDENTS_SHOWN = 10
TEXT_CHARACTERS = 280

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class ReportNumbers:
    """What the first screen says; `mean_compound` is -1 to 1, null if nothing was scored."""

    post_count: int
    day_count: int
    duplicate_count: int
    quarantined_count: int
    deleted_count: int
    scored_count: int
    mean_compound: float | None


def read_numbers(snapshot: Path) -> ReportNumbers:
    """Return the totals of the published snapshot.

    Raises:
        DamagedFileError: it is no snapshot that could be read.
    """
    with _opened(snapshot) as connection:
        row = connection.execute(
            """
            SELECT coalesce(sum(post_count), 0)::BIGINT, count(DISTINCT date),
                coalesce(sum(duplicate_count), 0)::BIGINT,
                (SELECT coalesce(sum(quarantined_count), 0)::BIGINT FROM source_health),
                (SELECT coalesce(sum(deleted_count), 0)::BIGINT FROM source_health),
                coalesce(sum(scored_count), 0)::BIGINT,
                sum(mean_compound * scored_count) / nullif(sum(scored_count), 0)
            FROM daily_sentiment
            """
        ).fetchone()
    assert row is not None  # an aggregate without GROUP BY always returns one row
    return ReportNumbers(*row)


def write_report(snapshot: Path, path: Path, findings: Sequence[Finding]) -> ReportNumbers:
    """Write the report of `snapshot` to `path`, replacing it in one step.

    Args:
        findings: what is not well at present.

    Raises:
        ConfigurationError: there can be no file at `path`.
        DamagedFileError: `snapshot` cannot be read.
        StorageError: the disk is full or read-only, or a right is missing.
    """
    numbers = read_numbers(snapshot)
    published_at = datetime.fromtimestamp(snapshot.stat().st_mtime, UTC)
    with _opened(snapshot) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        content = _read_content(connection)
    charts = _charts(content)
    with explained_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        vega = chart_script(snapshot.parent)  # beside `path` somebody else could put another
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("data_platform.reporting", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "figure": _figure,
            "share": _share,
            "signed": _signed,
            "line": _line,
        }
        drawing = environment.get_template("report.js").render()
        html = environment.get_template("report.html").render(
            numbers=numbers,
            findings=findings,
            is_well=not any(finding.severity == ERROR for finding in findings),
            published_at=published_at,
            scripts=[Markup(vega), Markup(drawing)],  # noqa: S704 (ours, and Vega's)
            policy=_content_policy([vega, drawing]),
            charts={name: _embedded(spec) for name, spec in charts.items()},
            chart_ids={name: number for number, name in enumerate(charts)},
            **content,
        )
        replace_text(path, html)
    return numbers


@contextmanager
def _opened(snapshot: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with explained(snapshot, PUBLISH_ANEW), duckdb.connect(str(snapshot), read_only=True) as opened:
        yield opened


def _content_policy(scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy under which nothing but our own scripts runs or loads.

    Vega compiles its expressions, which needs 'unsafe-eval'; they are made from our own charts.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def _embedded(spec: Spec) -> Markup:
    """Return a chart as JSON that no text in it can break out of."""
    text = json.dumps(spec, ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


_SUMS = f"""
    sum(post_count)::BIGINT AS posts, sum(scored_count)::BIGINT AS scored,
    sum(negative_count)::BIGINT AS negative, sum(neutral_count)::BIGINT AS neutral,
    sum(positive_count)::BIGINT AS positive,
    (sum(positive_count) - sum(negative_count)) / nullif(sum(scored_count), 0)::DOUBLE AS net,
    {wilson_sql("sum(negative_count)", "sum(scored_count)")}
"""
_RECENT = f"date > $last::DATE - {RECENT_DAYS}"
_BEFORE = f"date <= $last::DATE - {RECENT_DAYS} AND date > $last::DATE - {2 * RECENT_DAYS}"
_EXAMPLE = """
    SELECT c.feedback_id, c.feed, c.language, c.posted_at, left(c.body_clean, 1200) AS text,
        s.compound, s.label
"""
_QUERIES: Mapping[str, str] = {
    "days": f"SELECT date, feed, {_SUMS} FROM daily_sentiment"
    f" WHERE date > $last::DATE - {MAX_DAYS_SHOWN} GROUP BY date, feed ORDER BY date, feed",
    "feeds": f"SELECT feed AS name, {_SUMS}, any_value(b.posts_before) AS posts_before"
    f" FROM daily_sentiment LEFT JOIN (SELECT feed, sum(post_count)::BIGINT AS posts_before"
    f"   FROM daily_sentiment WHERE {_BEFORE} GROUP BY feed) b USING (feed)"
    f" WHERE {_RECENT} GROUP BY feed ORDER BY posts DESC, name LIMIT {MEMBERS_SHOWN}",
    "languages": f"SELECT language AS name, {_SUMS} FROM daily_sentiment WHERE {_RECENT}"
    f" GROUP BY language ORDER BY posts DESC, name LIMIT {MEMBERS_SHOWN}",
    "topics": "SELECT topic AS name, sum(post_count)::BIGINT AS posts,"
    " sum(scored_count)::BIGINT AS scored, sum(negative_count)::BIGINT AS negative,"
    " (sum(scored_count) - sum(negative_count) - sum(positive_count))::BIGINT AS neutral,"
    " sum(positive_count)::BIGINT AS positive,"
    " (sum(positive_count) - sum(negative_count)) / nullif(sum(scored_count), 0)::DOUBLE AS net,"
    f" {wilson_sql('sum(negative_count)', 'sum(scored_count)')}"
    f" FROM topic_sentiment WHERE {_RECENT} GROUP BY topic ORDER BY posts DESC, name"
    f" LIMIT {MEMBERS_SHOWN}",
    "weeks": f"SELECT date > $last::DATE - 7 AS is_latest, {_SUMS} FROM daily_sentiment"
    " WHERE date > $last::DATE - 14 GROUP BY is_latest",
    "incidents": "SELECT * FROM incidents"
    f" WHERE last_date > $last::DATE - {MAX_DAYS_SHOWN}"
    f" ORDER BY is_over, last_date DESC, abs(score) DESC LIMIT {INCIDENTS_SHOWN}",
    "signals": "SELECT date, feed, low, high FROM daily_signals WHERE measure = 'negative_share'"
    f" AND topic = 'all' AND low IS NOT NULL AND date > $last::DATE - {MAX_DAYS_SHOWN}"
    " ORDER BY date",
    "terms": "SELECT * FROM rising_terms ORDER BY feed, language, rank",
    "campaigns": "SELECT k.*, left(c.body_clean, 1200) AS text FROM campaigns k"
    " JOIN cleaned_feedback c ON c.feedback_id = k.campaign_id"
    f" ORDER BY k.post_count DESC, k.campaign_id LIMIT {POSTS_SHOWN}",
    "top": f"{_EXAMPLE}, t.reaction_count FROM top_posts t"
    " JOIN cleaned_feedback c ON c.feedback_id = t.feedback_id"
    " LEFT JOIN current_sentiment s ON s.feedback_id = t.feedback_id"
    f" WHERE t.week_date > $last::DATE - {RECENT_DAYS}"
    f" ORDER BY t.reaction_count DESC, c.feedback_id LIMIT {POSTS_SHOWN}",
    **{
        name: f"{_EXAMPLE} FROM cleaned_feedback c"
        " JOIN current_sentiment s ON s.feedback_id = c.feedback_id"
        f" AND s.posted_at > $last::DATE::TIMESTAMPTZ - INTERVAL {RECENT_DAYS} DAY"
        f" WHERE c.duplicate_of IS NULL AND s.label = '{label}'"
        f" ORDER BY s.compound {order}, c.posted_at DESC, c.feedback_id LIMIT {POSTS_SHOWN}"
        for name, label, order in (("best", "positive", "DESC"), ("worst", "negative", "ASC"))
    },
    "sources": "SELECT * FROM source_health ORDER BY feed",
    "coverage": "SELECT date, feed, status, covered_share FROM feed_coverage"
    f" WHERE date > $last::DATE - {MAX_DAYS_SHOWN} ORDER BY date, feed",
    "coverage_counts": "SELECT feed, count(*) AS days, count(*) FILTER (status = 'complete')"
    " AS complete, count(*) FILTER (status = 'open gap') AS gaps FROM feed_coverage"
    " GROUP BY feed ORDER BY feed",
    "evaluation": "SELECT * FROM sentiment_evaluation WHERE language = 'all'"
    " ORDER BY feed, truth, label = 'macro', label",
    "calibration": "SELECT * FROM sentiment_calibration ORDER BY feed, truth, bin",
    "confusions": f"{_EXAMPLE}, k.true_label, k.predicted_label, k.post_count"
    " FROM sentiment_confusions k JOIN cleaned_feedback c ON c.feedback_id = k.feedback_id"
    " LEFT JOIN current_sentiment s ON s.feedback_id = k.feedback_id WHERE k.rank = 1"
    f" ORDER BY k.post_count DESC, c.feedback_id, k.truth LIMIT {POSTS_SHOWN}",
    "comparison": "SELECT * FROM model_comparison ORDER BY feed, former_version",
    "drift": "SELECT * FROM feed_drift ORDER BY NOT is_drifted, feed, measure",
    "work": "SELECT asset, sum(seconds) AS seconds, sum(input_count)::BIGINT AS input_count,"
    " sum(input_count) / nullif(sum(seconds) FILTER (input_count > 0), 0) AS rows_per_second,"
    " max(peak_memory_bytes) AS peak_memory_bytes FROM pipeline_metrics"
    " WHERE materialized_at > (SELECT max(materialized_at) FROM pipeline_metrics) - INTERVAL 1 DAY"
    " GROUP BY asset ORDER BY seconds DESC LIMIT 12",
    "lag": "SELECT median(median_lag_seconds) AS typical, max(max_lag_seconds) AS longest"
    " FROM pipeline_metrics WHERE median_lag_seconds IS NOT NULL AND materialized_at >"
    " (SELECT max(materialized_at) FROM pipeline_metrics) - INTERVAL 1 DAY",
    "model": "SELECT * FROM active_model",
}


def _read_content(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Return the rows of every section by name; `last_day` is the day of the latest post."""
    ((last_day,),) = connection.execute("SELECT max(date) FROM daily_sentiment").fetchall()
    content: dict[str, Any] = {
        name: _rows(connection, sql, {"last": last_day}) for name, sql in _QUERIES.items()
    }
    content["last_day"] = last_day
    content["drift"] = [{**row, "what": DRIFTS[row["measure"]]} for row in content["drift"]]
    content["recent_days"] = RECENT_DAYS
    content["table_since"] = last_day - timedelta(days=TABLE_DAYS) if last_day else None
    for incident in content["incidents"]:
        incident["what"] = incident_title(incident)
        incident["terms"] = [
            term
            for term in content["terms"]
            if (term["first_date"], term["last_date"], term["feed"])
            == (incident["first_date"], incident["last_date"], incident["feed"])
        ][:8]
        incident["examples"] = _examples(connection, incident)
    since = last_day - timedelta(days=6) if last_day else None
    content["terms"] = [
        term
        for term in content["terms"]
        if (term["first_date"], term["last_date"]) == (since, last_day)
    ]
    return content


DRIFTS = {
    "post_count": "posts a day",
    "language_mix": "languages",
    "duplicate_share": "copies",
    "quarantine_share": "refused records",
    "score_distribution": "scores",
    "unknown_words": "words that nobody used before",
}


def incident_title(incident: Mapping[str, Any]) -> str:
    """Return what happened, in words: 'more posts than usual in shop'."""
    what = {
        ("post_count", "up"): "more posts than usual",
        ("post_count", "down"): "fewer posts than usual",
        ("negative_share", "up"): "more negative than usual",
        ("negative_share", "down"): "less negative than usual",
    }[incident["measure"], incident["direction"]]
    topic = "" if incident["topic"] == "all" else f", {incident['topic']}"
    return f"{what} in {incident['feed']}{topic}"


def _examples(connection: duckdb.DuckDBPyConnection, incident: Mapping[str, Any]) -> Rows:
    """Return the posts of an incident's peak that feel most as it does; negative ones if it rose."""
    return _rows(
        connection,
        f"{_EXAMPLE} FROM cleaned_feedback c JOIN fct_feedback f USING (feedback_id)"
        " JOIN current_sentiment s ON s.feedback_id = c.feedback_id"
        " WHERE c.posted_at >= $day::DATE::TIMESTAMPTZ AND c.posted_at < $day::DATE::TIMESTAMPTZ"
        " + INTERVAL 1 DAY AND c.feed = $feed AND ($topic = 'all' OR f.topic = $topic)"
        f" AND c.duplicate_of IS NULL ORDER BY s.compound, c.feedback_id LIMIT {EXAMPLES}",
        {"day": incident["peak_date"], "feed": incident["feed"], "topic": incident["topic"]},
    )


def _charts(content: Mapping[str, Any]) -> dict[str, Spec]:
    """Return the charts by the name that the page knows them by; none where there are no rows."""
    if not content["days"]:
        return {}
    largest = {row["name"] for row in content["feeds"][:FEEDS_DRAWN]}
    days = [
        {**{n: row[n] for n in _DRAWN}, "feed": row["feed"]}
        for row in content["days"]
        if row["feed"] in largest
    ]
    marks = [
        {"feed": row["feed"], "first_date": row["first_date"], "what": _line(row["what"])}
        for row in content["incidents"]
    ]
    charts = {"volume": volume_chart(days, marks)}
    charts |= feeling_charts(days, content["signals"], marks)
    for name, title in (("feeds", "Feed"), ("languages", "Language"), ("topics", "Topic")):
        rows = [{**row, "name": _line(row["name"])} for row in content[name] if row["scored"]]
        if rows:
            charts[name] = shares_chart(rows, title)
    if content["calibration"]:
        charts["calibration"] = calibration_chart(content["calibration"])
    if content["coverage"]:
        charts["coverage"] = coverage_chart(content["coverage"])
    return charts


_DRAWN = ("date", "posts", "negative_share", "negative_low_share", "negative_high_share")


def _rows(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object]
) -> Rows:
    used = {name: value for name, value in parameters.items() if f"${name}" in sql}
    rows: Rows = connection.execute(sql, used).to_arrow_table().to_pylist()
    return rows


def _figure(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _share(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _signed(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _line(text: object) -> str:
    return plain(str(text), TEXT_CHARACTERS)
