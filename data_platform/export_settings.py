"""What feedback.yaml says of exports: files that follow each new snapshot."""

from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from data_platform.config_file import nearest
from data_platform.feed_settings import PathText, Strict
from data_platform.schemas import READABLE

FileFormat = Literal["parquet", "csv", "arrow"]
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)


def _check_table(name: str) -> str:
    if name not in READABLE:
        message = f"{name!r} is not one of {', '.join(READABLE)}{nearest(name, list(READABLE))}"
        raise ValueError(message)
    return name


TableName = Annotated[
    str, AfterValidator(_check_table), Field(json_schema_extra={"enum": list(READABLE)})
]


class ExportOptions(Strict):
    """A file that is written again after each new snapshot."""

    table: TableName = Field(description="Table or view of the snapshot, such as feedback.")
    format: FileFormat = Field(default="parquet", description="Format, and ending, of the file.")
    path: PathText | None = Field(
        default=None, description="Folder of the file; default: exports/ in the data home."
    )
    days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Only so many days, the last of them the latest that the table has; default: all.",
    )

    @model_validator(mode="after")
    def _check_days(self) -> Self:
        if self.days is not None and READABLE[self.table].reading_day_column is None:
            message = f"{self.table} has no column of days; leave days out"
            raise ValueError(message)
        return self

    @property
    def file_name(self) -> str:
        return f"{self.table}.{self.format}"
