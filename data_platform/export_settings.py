"""What can be told of exports: the formats of their files."""

from typing import Literal, get_args

FileFormat = Literal["parquet", "csv", "arrow"]
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
