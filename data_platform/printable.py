"""What keeps the words of strangers from acting on a terminal or forging a line of a log."""


def printable(text: str, keep: str = "") -> str:
    """Return `text` with every character that is not shown (controls, direction marks, halves of
    surrogate pairs) as the escape that names it, such as \\x1b; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: object, limit: int | None = None) -> str:
    """Return `text` with a space for every character that is not shown; what is longer ends in …."""
    whole = str(text)
    begin = whole if limit is None else whole[: limit + 1]
    line = "".join(c if c.isprintable() else " " for c in begin)
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"
