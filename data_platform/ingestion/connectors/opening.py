"""Opening a file of whatever compression and encoding: as bytes, or as text in which each byte can be told."""

import codecs
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa

from data_platform.errors import PermanentSourceError

GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1
HEAD_BYTES = 4096
READ_BYTES = 1024**2
MAX_LINE_CHARACTERS = 16 * 1024 * 1024
TOO_LONG = f"longer than {MAX_LINE_CHARACTERS:,} characters"
# Of 14,640 tweets gzip -9 and zstd -19 leave a third and a quarter; bombs shrink to a thousandth and less.
MAX_UNPACKED_RATIO = 300
FREE_UNPACKED_BYTES = 256 * 1024**2
NOT_TEXT = "not {} text; set encoding of the feed, such as cp1252"
# The longer mark first: that of UTF-16 begins that of UTF-32.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
FOREIGN_CONTENT: tuple[tuple[re.Pattern[bytes], str, set[str]], ...] = (
    (re.compile(rb"PK\x03\x04"), "a ZIP archive or an Excel workbook", {"xlsx"}),
    (re.compile(rb"\xd0\xcf\x11\xe0"), "an .xls or an encrypted workbook; save it as .xlsx", set()),
    (re.compile(rb"PAR1"), "a Parquet file", {"parquet"}),
    (re.compile(rb"%PDF"), "a PDF document", set()),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s|html[\s>]|\?xml\s)", re.IGNORECASE),
        "an HTML or XML page, perhaps of a failed download",
        set(),
    ),
    (re.compile(rb"(\xef\xbb\xbf)?\s*([{]\s*\"|\[\s*[{])"), "JSON", {"json", "ndjson"}),
)
UNDECODABLE = re.compile("[\ud800-\udfff]")


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, decompressed; gzip and zstd are told by their content.

    Raises:
        OSError: it cannot be opened.
    """
    with path.open("rb") as stream:
        magic = stream.read(len(ZSTD_MAGIC))
    if magic.startswith(GZIP_MAGIC):
        return io.BufferedReader(_Unpacked(path, gzip.open(path)), READ_BYTES)
    if magic == ZSTD_MAGIC:
        unpacked = pa.input_stream(str(path), compression="zstd")
        return io.BufferedReader(_Unpacked(path, unpacked), READ_BYTES)
    return path.open("rb")


def most_unpacked(packed_bytes: int) -> int:
    """Return how many bytes a file or archive of that size may unpack to before it counts as a bomb."""
    return max(FREE_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed_bytes)


class _Unpacked(io.RawIOBase):
    """What is unpacked from a file, up to the limit.

    Raises:
        PermanentSourceError: on reading further than the limit.
    """

    def __init__(self, path: Path, stream: Any) -> None:
        self._path, self._stream = path, stream
        self._left = most_unpacked(path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            message = (
                f"{self._path} unpacks to more than {MAX_UNPACKED_RATIO} times its size, as bombs do;"
                " if it is what you expect, deliver it unpacked"
            )
            raise PermanentSourceError(message)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def refuse_foreign(path: Path, kind: str) -> None:
    """Refuse a file whose content is plainly not what it is taken for.

    Raises:
        PermanentSourceError: the message says what it looks like.
    """
    with open_bytes(path) as stream:
        head = stream.read(HEAD_BYTES)
    for pattern, what, kinds in FOREIGN_CONTENT:
        if pattern.match(head) and kind not in kinds:
            message = (
                f"{path} is read as {kind}, but it looks like {what}. Replace it, give it the"
                " suffix of what it is, or set format of the feed."
            )
            raise PermanentSourceError(message)


def open_text(path: Path, encoding: str | None, newline: str) -> TextIO:
    """Open a file as text.

    A byte order mark tells the encoding, before `encoding` does; text without either is UTF-16 if
    it has the NULs of UTF-16, else UTF-8. A byte that is no text in that encoding becomes half of
    a surrogate pair, which no text can hold: see `is_text` and `readable`.

    Args:
        newline: as in `open`: "" ends lines at CR, LF and CRLF, "\\n" at LF; ends stay.
    """
    with open_bytes(path) as stream:
        head = stream.read(HEAD_BYTES)
    marked = next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), None)
    name = marked or encoding or _guess_encoding(head)
    return io.TextIOWrapper(
        open_bytes(path), encoding=name, errors="data_platform.keep", newline=newline
    )


def _guess_encoding(head: bytes) -> str:
    pairs = len(head) // 2
    low, high = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs and high > 0.3 * pairs and low == 0:
        return "utf-16-le"
    if pairs and low > 0.3 * pairs and high == 0:
        return "utf-16-be"
    return "utf-8"


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    """Put each byte that cannot be decoded at U+DC00 and above, as `surrogateescape` does for UTF-8."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + b) for b in error.object[error.start : error.end]), error.end


codecs.register_error("data_platform.keep", _keep_bytes)


def lines_of(stream: TextIO) -> Iterator[str]:
    """Yield the lines of `stream` with their ends; of a longer one than the limit, its beginning."""
    while line := stream.readline(MAX_LINE_CHARACTERS):
        yield line
        while is_cut(line):
            line = stream.readline(MAX_LINE_CHARACTERS)


def is_cut(line: str) -> bool:
    """True for the beginning of a line that is longer than the limit."""
    return len(line) == MAX_LINE_CHARACTERS and not line.endswith(("\n", "\r"))


def is_text(text: str) -> bool:
    """False if some bytes of it could not be decoded, or half a surrogate pair stands in it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def readable(text: str) -> str:
    """Return `text` with each byte that could not be decoded as \\xNN."""
    return UNDECODABLE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)
