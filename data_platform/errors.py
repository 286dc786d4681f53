"""The errors that this platform raises on purpose, under one base class, each with the exit code that scripts see."""

from datetime import datetime

from data_platform.printable import printable


class DataPlatformError(Exception):
    """Something a person can act on; its message says what was tried, on what, and what to do next.

    It is printed and logged as it is, and names files and quotes answers: as text it holds nothing
    but characters that are shown, and the line breaks in `kept_characters`.
    """

    exit_code = 1
    kept_characters = ""

    def __str__(self) -> str:
        return printable(super().__str__(), self.kept_characters)


class ConfigurationError(DataPlatformError):
    """feedback.yaml, an environment variable or an argument is wrong: the user's mistake."""

    exit_code = 2
    kept_characters = "\n"  # a line for each mistake


class SourceError(DataPlatformError):
    """A source of feedback could not be read."""

    exit_code = 3


class TransientSourceError(SourceError):
    """The source could not be read now; another attempt may succeed without any change."""


class PermanentSourceError(SourceError):
    """The source will fail in the same way until somebody changes the source or the configuration."""


class ThrottledError(TransientSourceError):
    """The source wants to be asked again later than a run may wait.

    Attributes:
        until: when, by our clock; no request is made before.
    """

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class BudgetSpentError(TransientSourceError):
    """The feed has made the requests, or spent the units or the money, that it may in a run or a day."""


class TokenExpiredError(TransientSourceError):
    """The source does not know the page any more where a window was to go on; it begins anew."""


class UnreachableError(PermanentSourceError):
    """The source lists nothing of a window any more, because it lies too far back."""


class GoneError(PermanentSourceError):
    """The source says that what was asked for is not there, or not any more (404, 410)."""


class RefusedError(PermanentSourceError):
    """The source refuses a request as it is.

    Attributes:
        status: its HTTP status.
        body: its answer, at most 10,000 characters.
    """

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.status, self.body = status, body


class InterruptedRunError(DataPlatformError):
    """Somebody ended the command with Ctrl-C or SIGTERM; 130 is what shells call that."""

    exit_code = 130


class StorageError(DataPlatformError):
    """The machine refused to read or write: a disk is full or read-only, or a right is missing."""


class DamagedFileError(StorageError):
    """A database is damaged, or a file in its place is none."""


class BusyError(DataPlatformError):
    """Another process held the warehouse, a feed or the snapshot for longer than the wait."""


class WarehouseVersionError(DataPlatformError):
    """The warehouse file was written under a schema version that this release cannot use."""


class RuleViolationError(DataPlatformError):
    """A blocking rule did not hold inside a write transaction, which was rolled back.

    Attributes:
        table: name of the table that was about to be written.
        day: ISO date of the partition, or None for an unpartitioned table.
        rule: name of the rule, a statement of what should hold.
        violation_count: rows (or units) that break it, at least 1.
        evidence: keys or counts that show the violation, never feedback text.
    """

    def __init__(
        self, table: str, day: str | None, rule: str, violation_count: int, evidence: str
    ) -> None:
        self.table, self.day, self.rule = table, day, rule
        self.violation_count, self.evidence = violation_count, evidence
        where = f"{table} of {day}" if day else table
        super().__init__(
            f"{where} was not written: '{rule}' does not hold for {violation_count} row(s), "
            f"for example {evidence}. Every table is as it was before."
        )


class InputMovedError(DataPlatformError):
    """What a refresh reads changed while it was at work; running it again is safe."""
