"""The one reader of environment variables and feedback.yaml: typed, validated, with messages that help."""

import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from data_platform.alert_settings import AlertOptions, require_known
from data_platform.config_file import nearest, read_model
from data_platform.errors import ConfigurationError
from data_platform.export_settings import ExportOptions
from data_platform.feed_settings import AnyFeed, PositiveInterval, Strict

CONFIG_FILE_NAME = "feedback.yaml"
BESIDE_THE_WAREHOUSE = ("", ".wal", ".lock", ".holder")

Personal = Literal["email", "phone", "card", "iban", "ip", "national_id"]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]


class CleaningOptions(Strict):
    """How text is prepared."""

    copy_min_characters: int = Field(
        default=40,
        ge=10,
        description="From this length on, equal texts by different authors count as copies.",
    )
    threads: int = Field(
        default=2, ge=1, le=64, description="Parts of a column of texts cleaned at the same time."
    )
    redact: tuple[Personal, ...] = Field(
        default=("email", "phone", "card", "iban", "ip", "national_id"),
        description="Personal data that stays in the raw zone; elsewhere stands <email>, <phone> …",
    )
    phone_regions: tuple[Country, ...] = Field(
        default=("US", "GB", "DE", "FR", "ES", "IT", "NL"),
        description="Countries whose phone numbers are known without + and country code.",
    )
    national_ids: tuple[Literal["BR", "DE", "ES", "FR", "GB", "IT", "NL", "US"], ...] = Field(
        default=("BR", "DE", "ES", "FR", "IT"),
        description="Countries whose ids of persons are redacted; by default those with checksums.",
    )

    @field_validator("phone_regions")
    @classmethod
    def _check_regions(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        from phonenumbers import SUPPORTED_REGIONS

        for region in regions:
            require_known(region, sorted(SUPPORTED_REGIONS), "cleaning.phone_regions", "region")
        return regions


class SentimentOptions(Strict):
    """Which model scores, and what it is given."""

    model: Literal["vader"] = Field(default="vader", description="The sentiment model.")
    languages: tuple[str, ...] = Field(
        default=("en",), description="Languages that the model can score; others stay unscored."
    )
    words: dict[str, float] = Field(
        default={},
        description="Words that mean something else in your business: valence, -4 to 4.",
    )
    new_model: Literal["activate", "wait"] = Field(
        default="activate",
        description="What becomes of another model's scores, such as after an upgrade or other words:"
        " current as soon as every text has one, or wait for data-platform models activate.",
    )
    threads: int = Field(
        default=2, ge=1, le=64, description="Batches of texts that are scored at the same time."
    )

    @field_validator("words")
    @classmethod
    def _check_words(cls, words: dict[str, float]) -> dict[str, float]:
        for word, valence in words.items():
            if not word or word != word.lower() or word.split() != [word]:
                message = (
                    f"{word!r} must be one word in lower case: the model looks at single words"
                )
                raise ValueError(message)
            if not -4 <= valence <= 4:
                message = (
                    f"the valence of {word!r} is {valence}; it goes from -4 (worst) to 4 (best)"
                )
                raise ValueError(message)
        return words


class FeedbackConfig(Strict):
    """What feedback.yaml holds."""

    start_date: date = Field(description="First day of feedback (UTC); earlier posts wait.")
    lateness_days: int = Field(
        default=3, ge=0, le=365, description="Days after which a post that arrives counts as late."
    )
    erase_within: PositiveInterval = Field(
        default="24h",
        description="By when no byte may be left of what was deleted at the source or is to be erased.",
    )
    raw_text_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Days after which maintenance redacts text as it was collected, too; default: never.",
    )
    keep_runs: PositiveInterval = Field(
        default="30d",
        description="Runs that ended longer ago leave Dagster's history, unless a partition stands as"
        " they made it.",
    )
    landing: str | None = Field(
        default=None, description="Folder of the landing zone; default: landing/ in the data home."
    )
    warehouse: str | None = Field(
        default=None, description="The DuckDB file; default: warehouse.duckdb in the data home."
    )
    feeds: tuple[AnyFeed, ...] = Field(min_length=1, description="Where feedback comes from.")
    cleaning: CleaningOptions = Field(
        default=CleaningOptions(), description="How text is prepared."
    )
    sentiment: SentimentOptions = Field(
        default=SentimentOptions(), description="Which model scores, and what it is given."
    )
    alerts: AlertOptions = Field(
        default=AlertOptions(), description="From where on a person should look, and who is told."
    )
    exports: tuple[ExportOptions, ...] = Field(
        default=(), description="Files for other programs that follow each new snapshot."
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
    def _check_names(cls, feeds: tuple[AnyFeed, ...]) -> tuple[AnyFeed, ...]:
        names = [feed.name for feed in feeds]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = f"two feeds are named {', '.join(twice)}; names must differ"
            raise ValueError(message)
        return feeds

    @field_validator("exports")
    @classmethod
    def _check_files(cls, exports: tuple[ExportOptions, ...]) -> tuple[ExportOptions, ...]:
        places = [Path(e.path or "", e.file_name) for e in exports]
        if twice := sorted({str(place) for place in places if places.count(place) > 1}):
            message = f"two exports write {', '.join(twice)}; give one another path"
            raise ValueError(message)
        return exports

    @model_validator(mode="after")
    def _check_redaction(self) -> Self:
        if self.raw_text_days is not None and not self.cleaning.redact:
            message = (
                "raw_text_days needs to know what to redact, and cleaning.redact is []: name kinds of"
                " personal data there, or take raw_text_days out"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_feeds_of_rules(self) -> Self:
        names = [feed.name for feed in self.feeds]
        for number, rule in enumerate(self.alerts.rules):
            for name in rule.feeds or ():
                require_known(name, names, f"alerts.rules[{number}]", "feed")
        return self


class Environment(BaseSettings):
    """The environment variables that the platform reads; secrets are named in feedback.yaml.

    Attributes:
        data_platform_umask: rights that new files and folders do not get, in octal digits.
    """

    model_config = SettingsConfigDict(extra="ignore")

    data_platform_umask: str = "077"
    data_platform_home: Path | None = None
    data_platform_config: Path | None = None
    feedback_author_key: SecretStr | None = None


class Settings(Strict):
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
    def feeds(self) -> tuple[AnyFeed, ...]:
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

    def export_path(self, export: ExportOptions) -> Path:
        """Return the file that `export` writes."""
        return self._place(export.path, "exports") / export.file_name

    def require_output_place(self, path: Path) -> None:
        """Refuse a file that a person names for an output, where the platform keeps its own.

        Raises:
            ConfigurationError: `path` is one of the platform's files, or lies in one of its folders
                other than exports/ and report/, whether by itself or by the link that it is.
        """
        folders = (self.home, self.landing_path.resolve(), self.dagster_home.resolve())
        shared = (self.home / "exports", self.report_path.parent)
        warehouse = self.warehouse_path.resolve()
        files = [warehouse.with_name(warehouse.name + end) for end in BESIDE_THE_WAREHOUSE]
        if self.config_path:
            files.append(self.config_path.resolve())
        for place in (path.resolve(), path.parent.resolve() / path.name):
            is_in_own_folder = any(map(place.is_relative_to, folders))
            if place in files or (is_in_own_folder and not any(map(place.is_relative_to, shared))):
                message = (
                    f"{path} is where the platform keeps its own files; nothing was written. Choose a"
                    f" file outside of {self.home}, or in {shared[0]}."
                )
                raise ConfigurationError(message)

    @property
    def restore_journal_path(self) -> Path:
        """What is there while a restore is not complete."""
        return self.home / ".restoring.json"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    def feed(self, name: str) -> AnyFeed:
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


def protect_new_files(environment: Environment | None = None) -> int:
    """Let whatever this process and its children create be the owner's alone; return the umask.

    Everything below the data home holds personal data. DATA_PLATFORM_UMASK says otherwise: with
    027 the group may read.

    Raises:
        ConfigurationError: it is no such number, or takes rights from the owner.
    """
    text = (environment or Environment()).data_platform_umask
    if not re.fullmatch("0?0[0-7]{2}", text):
        message = (
            f"DATA_PLATFORM_UMASK is {text[:20]!r}; write three octal digits that begin with 0: 077"
            " keeps new files to their owner, 027 lets the group read them"
        )
        raise ConfigurationError(message)
    os.umask(mask := int(text, 8))
    return mask


def load_settings(environment: Environment | None = None, folder: Path | None = None) -> Settings:
    """Read the environment and feedback.yaml; without a file, configure the embedded sample.

    Args:
        environment: default: read from the process's environment variables.
        folder: where feedback.yaml is looked for and `data/` goes by default;
            default: the project's folder, else the current one.

    Raises:
        ConfigurationError: a file is missing, a value is wrong, or an export would be written among
            the platform's own files; the message says where.
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
    for export in settings.config.exports:
        settings.require_output_place(settings.export_path(export))
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
