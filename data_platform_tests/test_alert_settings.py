"""Rules and channels of feedback.yaml: what they mean, and what a person is told when they are wrong."""

from datetime import UTC, datetime, time
from pathlib import Path

import pytest
import yaml

from data_platform.alert_settings import ALERT_KINDS, LOG, AlertOptions, AlertRule, QuietHours
from data_platform.errors import ConfigurationError
from data_platform.monitoring import alerts
from data_platform.settings import read_config
from data_platform.storage.warehouse import RULE_BROKEN

GOOD = """start_date: 2026-01-01
feeds:
  - {name: shop, kind: file, path: a.csv, fields: {source_id: id, posted_at: at, body: text}}
alerts:
  escalate_after: 4h
  channels:
    - {name: team, kind: apprise, url: {env: TEAM_URL}}
    - {name: hook, kind: webhook, url: "https://h.example/in", secret: {env: HOOK_SECRET}}
  rules:
    - kinds: [incident, run_failed]
      feeds: [shop]
      least: warning
      to: [team]
      timezone: Europe/Berlin
      quiet_hours: {begin: 22:00, end: "07:00"}
    - {to: [hook, log], digest_at: "08:00"}
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("to: [team]", "to: [tem]", "rules[0]: there is no channel 'tem'; did you mean team?"),
        ("feeds: [shop]", "feeds: [shp]", "rules[0]: there is no feed 'shp'; did you mean shop?"),
        ("[incident,", "[incdent,", "rules[0].kinds[0]: 'incdent' is not one of run_failed"),
        ("[incident,", "[incdent,", "; did you mean incident?"),
        ("name: hook", "name: team", "two channels are named team"),
        ("name: hook", "name: log", "the name log is that of the log"),
        ("kind: webhook", "kind: webhok", "did you mean webhook?"),
        ("least: warning", "least: warn", "did you mean warning?"),
        ("begin: 22:00", "begin: 22", 'a time of day is expected, such as "22:00"'),
        ("begin: 22:00", 'begin: "25:00"', 'a time of day is expected, such as "22:00"'),
        ("begin: 22:00", 'begin: "07:00"', "begin and end are the same time"),
        ("begin: 22:00", 'from: "22:00"', "quiet_hours.from: there is no such key"),
        ("Europe/Berlin", "Mars", "'Mars' is not a time zone"),
        ("escalate_after: 4h", "escalate_after: soon", "'soon' is not an interval"),
        ("url: {env: TEAM_URL}", "url: slack://a/b/c", "url: write the variable that holds it"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_name(tmp_path, old, new, expected):
    assert old in GOOD
    path = tmp_path / "feedback.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    assert expected in str(caught.value)


def test_a_time_without_quotes_is_read_as_it_was_meant(tmp_path):
    path = tmp_path / "feedback.yaml"
    path.write_text(GOOD, encoding="utf-8")
    quiet = read_config(path).alerts.rules[0].quiet_hours
    assert quiet == QuietHours(begin=time(22), end=time(7))
    for hour in range(10, 24):
        read = yaml.safe_load(f"{hour}:05")
        assert QuietHours(begin=read, end="00:00").begin == time(hour, 5)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-01T20:59Z", "2026-03-01T20:59Z"),
        ("2026-03-01T21:00Z", "2026-03-02T06:00Z"),
        ("2026-03-02T05:59Z", "2026-03-02T06:00Z"),
        ("2026-03-02T06:00Z", "2026-03-02T06:00Z"),
        ("2026-03-28T22:00Z", "2026-03-29T05:00Z"),  # clocks go forward that night
        ("2026-10-24T21:00Z", "2026-10-25T06:00Z"),  # and back
    ],
)
def test_quiet_hours_are_those_of_the_clocks_there(now, expected):
    rule = AlertRule(
        to=(LOG,), timezone="Europe/Berlin", quiet_hours={"begin": "22:00", "end": "07:00"}
    )
    assert rule.send_after(datetime.fromisoformat(now), "error") == datetime.fromisoformat(expected)


def test_a_digest_goes_out_at_its_time_of_the_day_also_in_quiet_hours():
    rule = AlertRule(to=(LOG,), timezone="Asia/Kolkata", digest_at="08:00")
    at = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    assert rule.send_after(at, "error") == datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
    assert rule.send_after(at.replace(minute=29), "error") == at


def test_every_kind_of_alert_can_be_named_in_a_rule():
    named = {v for k, v in vars(alerts).items() if k.isupper() and isinstance(v, str)}
    assert named | {RULE_BROKEN} == set(ALERT_KINDS)


def test_secrets_are_named_and_never_held():
    hook = {"name": "hook", "kind": "webhook", "url": "https://h.example/in"}
    with pytest.raises(ValueError, match="secret"):
        AlertOptions.model_validate({"channels": [hook]})


def test_the_example_of_the_documentation_is_valid(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "alerts.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    feeds = GOOD.partition("alerts:")[0].replace("name: shop", "name: {name}")
    reviews = feeds.splitlines()[2].replace("{name}", "reviews")
    path = tmp_path / "feedback.yaml"
    path.write_text(f"{feeds.replace('{name}', 'shop')}{reviews}\n{example}", encoding="utf-8")
    assert len(read_config(path).alerts.rules) == 3
