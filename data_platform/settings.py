"""The one reader of environment variables and feedback.yaml: typed, validated, with messages that help."""

import codecs
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

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


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


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
    path: str = Field(min_length=1, description="File, folder or glob, relative to this file.")
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
    posted_at_format: str | None = Field(
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

    quarantined_share: float = Field(default=0.05, ge=0, le=1)
    duplicate_share: float = Field(default=0.5, ge=0, le=1)
    unknown_language_share: float = Field(default=0.3, ge=0, le=1)
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
    feeds: tuple[FileFeed, ...] = Field(min_length=1)
    cleaning: CleaningOptions = CleaningOptions()
    sentiment: SentimentOptions = SentimentOptions()
    alerts: AlertOptions = AlertOptions()

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
        message = f"There is no feed {name!r}{_nearest(name, names)}. Feeds: {', '.join(names)}."
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
    if path.is_file():
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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {error}"
        raise ConfigurationError(message) from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        message = f"{path}{where}: this is not YAML: {problem}"
        raise ConfigurationError(message) from error
    if not isinstance(content, dict):
        message = f"{path}: expected keys such as start_date and feeds at the top level"
        raise ConfigurationError(message)
    try:
        return FeedbackConfig.model_validate(content)
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors()]
        message = "\n".join([f"{path}: {len(problems)} thing(s) to mend", *problems])
        raise ConfigurationError(message) from error


def _explain(problem: Mapping[str, Any]) -> str:
    location = [part for part in problem["loc"] if part != "function-after[_check_mapping()]"]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in location).lstrip(".")
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        text = f"there is no such key{_nearest(str(location[-1]), _keys_at(location))}"
    elif problem["type"] == "missing":
        text = "this key is required"
    elif problem["type"] == "literal_error":
        expected = str(problem.get("ctx", {}).get("expected", ""))
        names = re.findall(r"'([^']*)'", expected)
        got = problem.get("input") if location[-1] != "[key]" else location[-2]
        text = f"{got!r} is not one of {', '.join(names)}{_nearest(str(got), names)}"
    return f"  {where or 'the file'}: {text}"


def _keys_at(location: list[Any]) -> list[str]:
    """Keys that are allowed where an unknown one stands."""
    models: dict[str, type[BaseModel]] = {
        "cleaning": CleaningOptions,
        "sentiment": SentimentOptions,
        "alerts": AlertOptions,
        "feeds": FileFeed,
    }
    model = models.get(str(location[0]), FeedbackConfig) if len(location) > 1 else FeedbackConfig
    return list(model.model_fields)


def _nearest(word: str, words: list[str]) -> str:
    near = get_close_matches(word, words, n=1)
    return f"; did you mean {near[0]}?" if near else ""


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
