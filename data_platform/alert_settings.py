"""What feedback.yaml says of alerts: from where on a person should look, who is told, how, and when."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator, model_validator

from data_platform.config_file import nearest
from data_platform.feed_settings import (
    Address,
    EnvironmentSecret,
    FeedName,
    PositiveInterval,
    Server,
    Strict,
    TimeZoneName,
)

AlertKind = Literal[
    "run_failed",
    "check_failed",
    "rule_broken",
    "open_gap",
    "feed_stale",
    "feed_not_collected",
    "incident",
    "sensor_failed",
    "sensor_stopped",
    "sensor_silent",
    "daemon_silent",
    "channel_failed",
]
ALERT_KINDS: tuple[str, ...] = get_args(AlertKind)
Severity = Literal["warning", "error"]
SEVERITIES: tuple[str, ...] = get_args(Severity)  # in rising order
LOG = "log"


def _clock_time(value: object) -> object:
    """Accept '22:00', and 22:00 without quotes, which YAML 1.1 reads as 22 * 60 + 0."""
    if isinstance(value, int) and 60 <= value < 24 * 60:
        return time(value // 60, value % 60)
    if isinstance(value, str) and re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", value):
        hour, minute = value.split(":")
        return time(int(hour), int(minute))
    if isinstance(value, time):
        return value
    message = 'a time of day is expected, such as "22:00"'
    raise ValueError(message)


ClockTime = Annotated[time, BeforeValidator(_clock_time, json_schema_input_type=str)]


class Channel(Strict):
    """A way to reach people."""

    kind: str = Field(description="The kind of channel.")
    name: FeedName = Field(description="Name of the channel: a-z, digits and _, 41 characters.")


class LogChannel(Channel):
    """One line in the log of the process that sends; never feedback text."""

    kind: Literal["log"] = Field(description="The kind of channel: log.")


class AppriseChannel(Channel):
    """Mail, Slack, Teams, Discord and many more, by an address of the library apprise."""

    kind: Literal["apprise"] = Field(description="The kind of channel: apprise.")
    url: EnvironmentSecret = Field(
        description="Variable with the address, such as mailtos://…, slack://… or discord://…"
    )
    examples: int = Field(
        default=3, ge=0, le=10, description="Posts that an incident is shown with; 0: none."
    )


class WebhookChannel(Channel):
    """JSON by POST, signed as the feeds of kind webhook want it."""

    kind: Literal["webhook"] = Field(description="The kind of channel: webhook.")
    url: Address | EnvironmentSecret = Field(
        description="Address, or the variable that holds it if it is secret."
    )
    secret: EnvironmentSecret = Field(
        description="Secret of the signature: sha256=HEX, HMAC-SHA256 of the body."
    )
    signature_header: str = Field(
        default="X-Signature-256",
        pattern=r"^[A-Za-z0-9-]+$",
        description="Header of the signature.",
    )
    examples: int = Field(
        default=3, ge=0, le=10, description="Posts that an incident is shown with; 0: none."
    )


AnyChannel = Annotated[LogChannel | AppriseChannel | WebhookChannel, Field(discriminator="kind")]


class QuietHours(Strict):
    """Hours of each day in which messages wait."""

    begin: ClockTime = Field(description='First minute of them, such as "22:00".')
    end: ClockTime = Field(description='When messages go out again, such as "07:00".')
    errors_pass: bool = Field(
        default=False, description="True: errors are told at once, warnings wait."
    )

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.begin == self.end:
            message = "begin and end are the same time; leave quiet_hours out for none"
            raise ValueError(message)
        return self

    def contain(self, local: time) -> bool:
        """True if the time of day `local` lies in them; they may go over midnight."""
        if self.begin < self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end


class AlertRule(Strict):
    """Which alerts are told to whom, and when; the first rule that fits an alert decides."""

    kinds: tuple[AlertKind, ...] = Field(
        default=get_args(AlertKind), description="Kinds; default: all."
    )
    feeds: tuple[FeedName, ...] | None = Field(
        default=None, description="Only alerts about one of these feeds; default: about anything."
    )
    least: Severity = Field(default="warning", description="Lowest severity that the rule is for.")
    severity: Severity | None = Field(
        default=None, description="How severe it is told to be; default: as the platform judges."
    )
    to: tuple[FeedName, ...] = Field(description="Channels; [] tells nobody.")
    escalate_to: tuple[FeedName, ...] = Field(
        default=(), description="Channels that are told too when an alert escalates."
    )
    timezone: TimeZoneName = Field(default="UTC", description="Of quiet_hours and digest_at.")
    quiet_hours: QuietHours | None = Field(
        default=None, description="When messages wait; default: never."
    )
    digest_at: ClockTime | None = Field(
        default=None,
        description='All of a day in one message at this time, such as "08:00"; default: each at once.',
    )

    def fits(self, kind: str, feed: str | None, severity: str) -> bool:
        """True if the rule is for an alert of `kind` about `feed` (None: about no feed)."""
        return (
            kind in self.kinds
            and (self.feeds is None or feed in self.feeds)
            and SEVERITIES.index(severity) >= SEVERITIES.index(self.least)
        )

    def send_after(self, now: datetime, severity: str) -> datetime:
        """Return when a message that is due at `now` may go out (UTC)."""
        zone = ZoneInfo(self.timezone)
        local = now.astimezone(zone)
        if self.digest_at is not None:
            return _next(local, self.digest_at)
        quiet = self.quiet_hours
        if quiet is None or not quiet.contain(local.time()):
            return now
        return now if quiet.errors_pass and severity == "error" else _next(local, quiet.end)


def _next(local: datetime, at: time) -> datetime:
    """Return the next moment (UTC) at which clocks show `at`."""
    moment = local.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0, fold=0)
    if moment <= local:
        moment += timedelta(days=1)  # of the calendar: a day of 23 or 25 hours counts as one
    return moment.astimezone(UTC)


class AlertOptions(Strict):
    """From where on a person should look, and who is told; shares and F1 are 0 to 1."""

    quarantined_share: float = Field(
        default=0.05, ge=0, le=1, description="Share of a feed's records that are in quarantine."
    )
    duplicate_share: float = Field(
        default=0.5, ge=0, le=1, description="Share of a day's posts that copy another."
    )
    unknown_language_share: float = Field(
        default=0.3, ge=0, le=1, description="Share of a day's posts whose language is unknown."
    )
    volume_ratio: float = Field(
        default=3.0, gt=1, description="Posts of a day against the median of the 14 days before."
    )
    drift_psi: float = Field(
        default=0.25,
        gt=0,
        description="Population stability index of a feed's latest week from which on it has drifted.",
    )
    false_alarms_per_month: float = Field(
        default=1.0,
        gt=0,
        le=30,
        description="Unusual days that chance may bring in 30 days, over all series together.",
    )
    macro_f1: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Lowest macro-F1 of a feed's scores against its human labels or ratings.",
    )
    incident_days: int = Field(
        default=14,
        ge=1,
        le=3650,
        description="An incident that ended earlier is told once, as a warning that is over.",
    )
    escalate_after: PositiveInterval | None = Field(
        default="4h",
        description="An error that stays open for so long is told again; null: never.",
    )
    ui_url: Server = Field(
        default="http://127.0.0.1:3000", description="Address of the Dagster UI, for links."
    )
    heartbeat_url: EnvironmentSecret | None = Field(
        default=None,
        description="Variable with an address that the watchdog asks while the platform is watched:"
        " a dead man's switch.",
    )
    channels: tuple[AnyChannel, ...] = Field(
        default=(), description="Ways to reach people; `log` is always there."
    )
    rules: tuple[AlertRule, ...] = Field(
        default=(),
        description="Who is told what; default: every channel all, without channels the log.",
    )

    @field_validator("channels")
    @classmethod
    def _check_names(cls, channels: tuple[AnyChannel, ...]) -> tuple[AnyChannel, ...]:
        names = [channel.name for channel in channels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = f"two channels are named {', '.join(twice)}; names must differ"
            raise ValueError(message)
        if any(channel.name == LOG and channel.kind != LOG for channel in channels):
            message = f"the name {LOG} is that of the log; choose another"
            raise ValueError(message)
        return channels

    @model_validator(mode="after")
    def _check_receivers(self) -> Self:
        for number, rule in enumerate(self.rules):
            for name in (*rule.to, *rule.escalate_to):
                require_known(name, list(self.by_name), f"rules[{number}]", "channel")
        return self

    @property
    def by_name(self) -> dict[str, LogChannel | AppriseChannel | WebhookChannel]:
        """Every channel by its name; the log is one of them."""
        named = {channel.name: channel for channel in self.channels}
        return {LOG: LogChannel(kind="log", name=LOG), **named}

    def rule_for(self, kind: str, feed: str | None, severity: str) -> AlertRule:
        """Return the first rule that fits; without rules every channel; what fits none: the log."""
        for rule in self.rules:
            if rule.fits(kind, feed, severity):
                return rule
        names = tuple(channel.name for channel in self.channels)
        return AlertRule(to=(LOG,) if self.rules else names or (LOG,))


def require_known(name: str, known: Sequence[str], where: str, what: str) -> None:
    """Raise a ValueError that names the nearest of `known` if `name` is none of them."""
    if name not in known:
        choices = ", ".join(known)
        message = f"{where}: there is no {what} {name!r}{nearest(name, known)}; there are {choices}"
        raise ValueError(message)
