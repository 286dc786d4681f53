"""What undoes HTML in one text: entities become characters, tags go, script and style go whole."""

import re
from html import unescape
from html.entities import html5

# `&amp;amp;lt;` is one reference: text escaped many times over is decoded in one step, so the
# number of steps does not grow with its depth. Digits are bounded: int() refuses 4,300 of them.
# The semicolon is required (HTML does without): "fish&chips", "this&not that" are not references.
REFERENCE = re.compile(
    r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,5}26);)*"
    r"(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
)

# HTML Living Standard, section 15.3 "Rendering, flow content" (2026): these begin a new line.
_BLOCK = """
    address article aside blockquote body br caption center dd details dialog dir div dl dt
    fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html
    legend li main menu nav noscript ol optgroup option p pre search section summary table tbody
    td tfoot th thead title tr ul
"""
_INLINE = """
    a abbr acronym area audio b base basefont bdi bdo big button canvas cite code col colgroup
    data datalist del dfn em embed font frame i iframe img input ins kbd label link map mark
    marquee meta meter nobr object output param picture progress q rp rt ruby s samp script
    select slot small source span strike strong style sub sup svg template textarea time track
    tt u var video wbr
"""

BLOCK_ELEMENTS = frozenset(_BLOCK.split())
INLINE_ELEMENTS = frozenset(_INLINE.split())

# A scan from a `<` never passes the next `<`, and gives nothing back (possessive, atomic): the
# time is linear in the text, whatever it holds. A `>` inside a quoted attribute ends no tag.
TAG = re.compile(
    r"<(/?)([A-Za-z][A-Za-z0-9-]*+)"
    r"(?>(?:[\s/](?:[^<>\"']|\"[^\"<]*+\"|'[^'<]*+')*+)?>|(?:[\s/][^<>]*+)?>)"
)
DECLARATION = re.compile(r"<(?:!doctype\b|\?)[^<>]*+>|<!\[CDATA\[|\]\]>", re.IGNORECASE)
COMMENT_START = re.compile("<!--")
COMMENT_END = {"<!--": re.compile("--!?>")}
SCRIPT_START = re.compile(r"<(?:script|style)(?=[\s/>])[^<>]*+>", re.IGNORECASE)
SCRIPT_END = {
    "<script": re.compile(r"</script(?=[\s/>])[^<>]*+>", re.IGNORECASE),
    "<style": re.compile(r"</style(?=[\s/>])[^<>]*+>", re.IGNORECASE),
}


def decode_references(text: str) -> str:
    """Return `text` with character references (`&lt;`, `&#39;`, `&amp;amp;`) decoded.

    Names that HTML does not know stay as they are. Numbers follow HTML's rules (`html.unescape`):
    128 to 159 mean Windows-1252, those of no character vanish or become U+FFFD.
    """
    return REFERENCE.sub(_referred_character, text)


def _referred_character(reference: re.Match[str]) -> str:
    name = reference[1]
    if name.startswith("#"):
        return unescape(f"&{name};")
    return html5.get(f"{name};", f"&{name};")


def strip_tags(text: str) -> str:
    """Return `text` without HTML tags, comments, and what scripts and style sheets hold.

    An element that begins a new line leaves a space, any other nothing, so that
    `un<b>believ</b>able` stays one word. Angle brackets around a name that is no HTML element
    (`<3`, `<grin>`, `a < b`) are text; names with a hyphen are custom elements.
    """
    text = _without_spans(text, COMMENT_START, COMMENT_END)
    text = _without_spans(text, SCRIPT_START, SCRIPT_END)
    return TAG.sub(_tag_replacement, DECLARATION.sub("", text))


def _without_spans(text: str, start: re.Pattern[str], ends: dict[str, re.Pattern[str]]) -> str:
    """Cut out each span from a match of `start` to the end that belongs to it.

    A start without an end cuts nothing. Once an end is not found it is not searched again:
    a text of nothing but starts is read once.
    """
    kept: list[str] = []
    position = 0
    missing: set[str] = set()
    while opening := start.search(text, position):
        kind = next(name for name in ends if opening[0].lower().startswith(name))
        closing = None if kind in missing else ends[kind].search(text, opening.end())
        if closing is None:
            missing.add(kind)
            kept.append(text[position : opening.end()])
            position = opening.end()
        else:
            kept += (text[position : opening.start()], " ")
            position = closing.end()
        if len(missing) == len(ends):
            break
    return "".join((*kept, text[position:]))


def _tag_replacement(tag: re.Match[str]) -> str:
    name = tag[2].lower()
    if name in BLOCK_ELEMENTS:
        return " "
    return "" if name in INLINE_ELEMENTS or "-" in name else tag[0]
