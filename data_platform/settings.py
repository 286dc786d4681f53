"""The one reader of environment variables and feedback.yaml: typed, validated, with messages that help."""

import codecs
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from data_platform.config_file import nearest, read_model
from data_platform.errors import ConfigurationError

CONFIG_FILE_NAME = "feedback.yaml"
ContractField = Literal[
    "source_id",
    "posted_at",
    "body",
    "title",
    "author_handle",
    "edited_at",
    "is_deleted",
    "language",
    "rating",
    "label",
    "conversation_id",
    "parent_id",
    "url",
    "like_count",
    "share_count",
    "reply_count",
    "change",
]
FileFormat = Literal["csv", "tsv", "ndjson", "json", "parquet", "xlsx"]
CONTRACT_FIELDS: tuple[str, ...] = get_args(ContractField)
EPOCH_FORMATS = ("epoch_seconds", "epoch_milliseconds", "epoch_microseconds")
REQUIRED_FIELDS = ("source_id", "posted_at", "body")


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def interval(text: str) -> timedelta:
    """Return the length of an interval that was written as in feedback.yaml, such as 5m."""
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


def _check_interval(text: str) -> str:
    if not re.fullmatch(r"\d{1,6}[smhd]", text):
        message = f"{text!r} is not an interval; write a number and s, m, h or d, such as 5m"
        raise ValueError(message)
    return text


def _check_positive(text: str) -> str:
    if not interval(text):
        message = "it must be longer than 0"
        raise ValueError(message)
    return text


def _check_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        message = f"{name!r} is not a time zone; write a name such as UTC or Europe/Berlin"
        raise ValueError(message) from error
    return name


def _check_encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        message = f"{name!r} is not an encoding; write a name such as utf-8, cp1252 or utf-16"
        raise ValueError(message) from error


def _check_path(text: str) -> str:
    if not text.isprintable():
        message = "a path has no line breaks and no control characters"
        raise ValueError(message)
    return text


def _check_date_format(text: str) -> str:
    if text in EPOCH_FORMATS:
        return text
    import duckdb  # reads the dates, so it says what a format is

    try:
        duckdb.execute("SELECT try_strptime('', ?)", [text])
    except duckdb.Error as error:
        names = ", ".join(EPOCH_FORMATS)
        message = f"{text!r} is no format of dates, such as '%d.%m.%Y %H:%M', and none of {names}"
        raise ValueError(message) from error
    if "%" not in text:
        message = f"{text!r} has no % in it; write a format such as '%d.%m.%Y %H:%M'"
        raise ValueError(message)
    return text


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


PathText = Annotated[str, AfterValidator(_check_path)]
DateFormat = Annotated[str, AfterValidator(_check_date_format)]
Interval = Annotated[str, AfterValidator(_check_interval)]
Encoding = Annotated[str, AfterValidator(_check_encoding)]
ColumnNames = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_one_or_several, json_schema_input_type=str | list[str]),
]
TimeZoneName = Annotated[str, AfterValidator(_check_time_zone)]
FeedName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileFeed(_Strict):
    """A feed of files: a path, a folder or a glob, of one format or several."""

    kind: Literal["file"] = Field(description="The kind of feed: file.")
    name: FeedName = Field(description="Name of the feed: a-z, digits and _, 41 characters.")
    source: FeedName | None = Field(
        default=None, description="Platform that the ids belong to; default: the feed's name."
    )
    path: PathText = Field(min_length=1, description="File, folder or glob, relative to this file.")
    format: FileFormat | None = Field(
        default=None, description="Format of the files; default: told by their suffix."
    )
    encoding: Encoding | None = Field(
        default=None,
        description="Encoding of text files that state none; default: UTF-8, or UTF-16 if they look so.",
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="Between the columns of CSV; default: the one of , ; tab | that fits the header.",
    )
    quoted: bool = Field(
        default=True,
        description="Whether a CSV field may stand in double quotes; false: a quote is a letter.",
    )
    comment: str | None = Field(
        default=None, min_length=1, description="Lines of CSV that begin with this are left out."
    )
    columns: tuple[str, ...] = Field(
        default=(), description="Names of the columns, for CSV and Excel files without a header."
    )
    sheet: str | None = Field(
        default=None, description="Sheet of an Excel workbook; default: the first."
    )
    records: str | None = Field(
        default=None,
        description="Path of the list of records in a JSON file, such as data.items;"
        " default: the file itself, or the one list of objects in it.",
    )
    trust_ids: bool = Field(
        default=False,
        description="True: land files even if their ids look rounded or cut by a spreadsheet.",
    )
    timezone: TimeZoneName = Field(default="UTC", description="Time zone of dates that carry none.")
    posted_at_format: DateFormat | None = Field(
        default=None,
        description="strptime format of the dates, or epoch_seconds, epoch_milliseconds or"
        " epoch_microseconds;"
        " default: ISO 8601.",
    )
    default_language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}$",
        description="Language that undetermined short texts take.",
    )
    fields: dict[ContractField, ColumnNames] = Field(
        description="Field of the post contract: column of the file, path in JSON (user.name),"
        " or a list of those, of which a file has one."
    )
    constants: dict[ContractField, str] = Field(
        default_factory=dict, description="Field of the post contract: the same value for all."
    )
    rating_scale: tuple[float, float] | None = Field(
        default=None, description="Lowest and highest rating, such as [1, 5]."
    )
    keep: tuple[str, ...] = Field(
        default=(), description="Further columns to keep in source_metadata (personal zone)."
    )
    every: Annotated[Interval, AfterValidator(_check_positive)] = Field(
        default="1m", description="How often the feed is looked at, at the latest."
    )
    settle: Interval = Field(
        default="5s",
        description="A file is read when nobody has changed it for this long;"
        " 0s where files arrive by rename.",
    )

    @model_validator(mode="after")
    def _check_mapping(self) -> "FileFeed":
        mapped = {*self.fields, *self.constants}
        required = ("source_id",) if "change" in mapped else REQUIRED_FIELDS
        missing = [field for field in required if field not in mapped]
        if missing:
            message = f"fields must map {', '.join(missing)} to a column of the file"
            raise ValueError(message)
        if "source_id" in self.constants:
            message = "source_id cannot be a constant: every post needs its own"
            raise ValueError(message)
        both = sorted(set(self.fields) & set(self.constants))
        if both:
            message = f"{', '.join(both)} stands under fields and under constants; keep one"
            raise ValueError(message)
        if "rating" in self.fields and self.rating_scale is None:
            message = "rating needs rating_scale, such as rating_scale: [1, 5]"
            raise ValueError(message)
        if self.rating_scale and self.rating_scale[0] >= self.rating_scale[1]:
            message = "rating_scale must be [lowest, highest]"
            raise ValueError(message)
        return self

    @property
    def platform(self) -> str:
        """The platform whose ids the feed delivers."""
        return self.source or self.name


class CleaningOptions(_Strict):
    """How text is prepared."""

    copy_min_characters: int = Field(
        default=40,
        ge=10,
        description="From this length on, equal texts by different authors count as copies.",
    )
    threads: int = Field(
        default=2, ge=1, le=64, description="Parts of a column of texts cleaned at the same time."
    )


class SentimentOptions(_Strict):
    """Which model scores, and what it is given."""

    model: Literal["vader"] = Field(default="vader", description="The sentiment model.")
    languages: tuple[str, ...] = Field(
        default=("en",), description="Languages that the model can score; others stay unscored."
    )
    threads: int = Field(
        default=2, ge=1, le=64, description="Batches of texts that are scored at the same time."
    )


class AlertOptions(_Strict):
    """From where on a person should look; shares and F1 are 0 to 1."""

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
    macro_f1: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Lowest macro-F1 of a feed's scores against its human labels or ratings.",
    )


class FeedbackConfig(_Strict):
    """What feedback.yaml holds."""

    start_date: date = Field(description="First day of feedback (UTC); earlier posts wait.")
    lateness_days: int = Field(
        default=3, ge=0, le=365, description="Days after which a post that arrives counts as late."
    )
    landing: str | None = Field(
        default=None, description="Folder of the landing zone; default: landing/ in the data home."
    )
    warehouse: str | None = Field(
        default=None, description="The DuckDB file; default: warehouse.duckdb in the data home."
    )
    feeds: tuple[FileFeed, ...] = Field(min_length=1, description="Where feedback comes from.")
    cleaning: CleaningOptions = Field(
        default=CleaningOptions(), description="How text is prepared."
    )
    sentiment: SentimentOptions = Field(
        default=SentimentOptions(), description="Which model scores, and what it is given."
    )
    alerts: AlertOptions = Field(
        default=AlertOptions(), description="From where on a person should look."
    )

    @field_validator("start_date")
    @classmethod
    def _check_start(cls, start: date) -> date:
        today = datetime.now(UTC).date()
        if start > today:
            message = (
                f"{start} lies in the future: the clock of this machine says {today} (UTC). Mend the"
                " one that is wrong"
            )
            raise ValueError(message)
        return start

    @field_validator("feeds")
    @classmethod
    def _check_names(cls, feeds: tuple[FileFeed, ...]) -> tuple[FileFeed, ...]:
        names = [feed.name for feed in feeds]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = f"two feeds are named {', '.join(twice)}; names must differ"
            raise ValueError(message)
        return feeds


class Environment(BaseSettings):
    """The environment variables that the platform reads; secrets are named in feedback.yaml."""

    model_config = SettingsConfigDict(extra="ignore")

    data_platform_home: Path | None = None
    data_platform_config: Path | None = None
    feedback_author_key: SecretStr | None = None


class Settings(_Strict):
    """Everything that the platform is told: the configuration, and where data lives.

    Attributes:
        home: folder of everything that the platform writes.
        config_path: the feedback.yaml that was read; None for the embedded sample.
        base: folder that relative paths of the configuration start from.
        author_key: secret that author handles are hashed with; None: the key file in `home`.
    """

    home: Path
    config_path: Path | None
    base: Path
    config: FeedbackConfig
    author_key: SecretStr | None = None

    @property
    def is_sample(self) -> bool:
        return self.config_path is None

    @property
    def feeds(self) -> tuple[FileFeed, ...]:
        return self.config.feeds

    @property
    def warehouse_path(self) -> Path:
        return self._place(self.config.warehouse, "warehouse.duckdb")

    @property
    def landing_path(self) -> Path:
        return self._place(self.config.landing, "landing")

    @property
    def snapshot_path(self) -> Path:
        return self.home / "published" / "feedback.duckdb"

    @property
    def report_path(self) -> Path:
        return self.home / "report" / "index.html"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    def feed(self, name: str) -> FileFeed:
        """Return the feed of that name.

        Raises:
            ConfigurationError: no such feed; the message names the nearest.
        """
        for feed in self.feeds:
            if feed.name == name:
                return feed
        names = [feed.name for feed in self.feeds]
        message = f"There is no feed {name!r}{nearest(name, names)}. Feeds: {', '.join(names)}."
        raise ConfigurationError(message)

    def _place(self, configured: str | None, default: str) -> Path:
        return (self.base / configured).resolve() if configured else self.home / default


def load_settings(environment: Environment | None = None, folder: Path | None = None) -> Settings:
    """Read the environment and feedback.yaml; without a file, configure the embedded sample.

    Args:
        environment: default: read from the process's environment variables.
        folder: where feedback.yaml is looked for and `data/` goes by default;
            default: the project's folder, else the current one.

    Raises:
        ConfigurationError: a file is missing or a value is wrong; the message says where.
    """
    environment = environment or Environment()
    folder = folder or _project_folder()
    home = (environment.data_platform_home or folder / "data").expanduser().resolve()
    if environment.data_platform_config:
        path = environment.data_platform_config.expanduser().resolve()
        if not path.is_file():
            message = f"DATA_PLATFORM_CONFIG names {path}, which is not a file."
            raise ConfigurationError(message)
    else:
        path = folder / CONFIG_FILE_NAME
    if path.exists():
        config = read_config(path)
        settings = Settings(home=home, config_path=path, base=path.parent, config=config)
    else:
        settings = _sample_settings(home)
    return settings.model_copy(update={"author_key": environment.feedback_author_key})


def read_config(path: Path) -> FeedbackConfig:
    """Read and validate one feedback.yaml.

    Raises:
        ConfigurationError: the message names file, line or key, and what was expected.
    """
    return read_model(path, FeedbackConfig)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of feedback.yaml, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **FeedbackConfig.model_json_schema(),
        "title": CONFIG_FILE_NAME,
    }


def _project_folder() -> Path:
    """The folder that holds the package and its pyproject.toml; else the current folder."""
    folder = Path(__file__).resolve().parent.parent
    return folder if (folder / "pyproject.toml").is_file() else Path.cwd()


def _sample_settings(home: Path) -> Settings:
    """The embedded sample: three made-up feeds over the 30 days that end with its last day."""
    from data_platform.sample import SAMPLE_FEEDS, ensure_sample

    folder = home / "sample"
    last_day = ensure_sample(folder, datetime.now(UTC).date())
    config = FeedbackConfig.model_validate(
        {"start_date": last_day - timedelta(days=29), "feeds": SAMPLE_FEEDS}
    )
    return Settings(home=home, config_path=None, base=folder, config=config)
