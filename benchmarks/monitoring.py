"""Says which share of a run watching takes: the monitoring assets, and the look at the end that makes alerts.

    python -m benchmarks.monitoring [--posts 1000000] [--days 30]

A home of its own, collected, refreshed and published once, as `data-platform run` does.
"""

import argparse
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from benchmarks.posts import opened, settings_of, write_posts
from benchmarks.results import save, show

LAST_DAY = date(2026, 6, 30)
WATCHING = (
    "source_health",
    "feed_coverage",
    "feed_drift",
    "erasures",
    "daily_signals",
    "pipeline_metrics",
)


def main() -> None:
    """Measure one run, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="monitoring-") as folder:
        home = Path(folder)
        write_posts(home / "posts.ndjson", arguments.posts, LAST_DAY, arguments.days)
        seconds = run_once(home, arguments.days)
    total = seconds.pop("the whole run")
    watching = sum(seconds.values())
    rows = [[name, f"{found:.2f}", f"{found / total:.1%}"] for name, found in seconds.items()]
    rows += [["watching in all", f"{watching:.2f}", f"{watching / total:.1%}"]]
    rows += [["the whole run", f"{total:.2f}", ""]]
    show(f"Watching a run of {arguments.posts:,} posts", ["what", "seconds", "share"], rows)
    save({"monitoring.run_seconds": total, "monitoring.share": watching / total})


def run_once(home: Path, days: int) -> dict[str, float]:
    """Return seconds by what watches, and of the whole run."""
    from data_platform.automation.refresh import RefreshOutcome
    from data_platform.automation.watch import tell_the_end
    from data_platform.definitions import build_definitions, watch_of
    from data_platform.storage.days import days_between

    first = LAST_DAY - timedelta(days=days - 1)
    settings = settings_of(home, first, "en")
    outcome = RefreshOutcome()
    with opened(settings) as refresher:
        started = time.monotonic()
        refresher.collect([["posts"]], [], outcome)
        refresher.refresh(list(days_between(first, LAST_DAY)), outcome)
        refresher.publish(outcome)
        looked = time.monotonic()
        tell_the_end(watch_of(settings, build_definitions(settings)), refresher.instance)
        ended = time.monotonic()
        steps = {}
        for run in refresher.instance.get_runs():
            for step in refresher.instance.get_run_step_stats(run.run_id):
                if step.step_key in WATCHING:
                    steps[step.step_key] = (step.end_time or 0) - (step.start_time or 0)
    if outcome.failures:
        raise SystemExit("\n".join(outcome.failures))
    return {**steps, "alerts": ended - looked, "the whole run": ended - started}


if __name__ == "__main__":
    main()
