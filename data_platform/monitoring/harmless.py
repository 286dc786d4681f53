"""Makes text from outside harmless wherever a message may be shown: mail, chat, a terminal, a web page."""

import re
import unicodedata

from data_platform.printable import one_line

MAX_CHARACTERS = 200
# Not escapes: what one service needs escaped, another shows with its backslash. These look alike
# and mean nothing in HTML, Markdown, Slack's mrkdwn, Discord or a terminal.
LOOKALIKES = str.maketrans(
    {
        "<": "‹",
        ">": "›",
        "&": "＆",
        "`": "ˋ",
        "*": "∗",
        "~": "∼",
        "[": "(",
        "]": ")",
        "|": "¦",
        "\\": "⧵",
        "#": "♯",
        "@": "(at)",
    }
)
SCHEME = re.compile(r"(?<=[^\W\d_]):(?=\S)|:(?=//)")  # of http://…, javascript:…
DOT = re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})")  # of www.shop.example


def harmless(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return `text` on one line of at most `limit` characters, without any power.

    Compatibility forms (ｈｔｔｐ：//) become plain first; control, zero-width and direction-setting
    characters go; markup and mentions become look-alikes; links and domains do not lead anywhere.
    """
    plain = unicodedata.normalize("NFKC", text[: limit * 4])
    line = " ".join(one_line(plain).split())
    line = DOT.sub("[.]", SCHEME.sub("[:]", line.translate(LOOKALIKES)))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def harmless_quote(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return a customer's text, harmless; without underscores too, which our own names need."""
    return harmless(text, limit).replace("_", "＿")
