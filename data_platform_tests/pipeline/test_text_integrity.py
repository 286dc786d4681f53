"""Text is hostile input: through files, warehouse, cleaning and scoring nothing of it is lost, and nothing breaks."""

import csv
import io
import json
import math
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_platform.cleaning.posts import clean_posts
from data_platform.sentiment.vader import VaderModel
from data_platform_tests.pipeline.conftest import SHOP

NAUGHTY = {
    "SQL": "'; DROP TABLE raw_feedback; -- \" OR 1=1",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)> &lt;b&gt; ok",
    "a formula of a spreadsheet": "=cmd|' /C calc'!A0 +1+1 -2 @SUM(1)",
    "a shell": "$(rm -rf /) `id` && echo $HOME | cat > /dev/null",
    "a terminal": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x08\x08 bell\x07",
    "a template": "{{7*7}} ${7*7} {% raw %} %s %d {0} {self.__class__}",
    "a pattern": "(a+)+$ [^ .*? \\d \\1 (?i) |",
    "a path": "../../../../etc/passwd C:\\con\\con file:///etc/passwd",
    "words that are values": "null NULL None nan NaN inf -Infinity true FALSE undefined 0x10",
    "numbers": "00123 1e400 9007199254740993 .5 5. 1,000.00",
    "JSON": '{"a": [1, null, "\\u0041"]} [] "',
    "right to left": "שלום عليكم \u202eevil\u202c \u2067abc\u2069",
    "combining marks": "Z" + "\u0301\u0323\u20dd" * 500 + " e\u0301 é",
    "scripts without spaces": "このサービスは最高です 服务太差了 บริการดีมาก",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg",
    "emoji": "👨\u200d👩\u200d👧\u200d👦 👩🏽\u200d⚕️ 🏳️\u200d🌈 1️⃣ ❤️",
    "a flag": "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f good",
    "white space": "a\u00a0b\u2003c\u3000d\u2028e\u2029f\tg\vh\fi\x85j",
    "line ends": "one\ntwo\r\nthree\rfour\n\n\nfive",
    "quotes": 'say "hi" \'there\' “so” «là» ``x\'\' """',
    "noncharacters": "\ufffe \uffff \U0010ffff \ufdd0 \ufffd",
    "private use": "\ue000 \U000f0000 \U00100000",
    "a NUL": "before\x00after",
    "broken encodings": "Itâ€™s cafÃ© ï»¿ â‚¬",
    "composed both ways": "\u212b Å A\u030a ﬁ ① ｆｕｌｌ",
    "one long word": "x" * 100_000,
    "many marks": "!?" * 5_000,
    "spaces alone but one word": " " * 5_000 + "good" + " " * 5_000,
    "nesting": "<" * 2_000 + "b>" * 2_000 + "&amp;" * 2_000,
}


def test_what_was_written_stands_in_the_warehouse_and_every_table_is_made(platform_in):
    """NUL goes through NDJSON and Parquet too; each format has the texts under ids of its own."""
    feeds = []
    for form in ("csv", "ndjson", "parquet"):
        feed = {**SHOP["feeds"][0], "name": form, "path": f"incoming/*.{form}"}
        fields = {"source_id": "id", "posted_at": "at", "body": "text", "title": "title"}
        feeds.append({**feed, "fields": fields})
    platform = platform_in("naughty", {**SHOP, "feeds": feeds})
    rows = [
        {"id": name, "at": "2026-03-02T10:00:00Z", "text": text, "title": text[:200]}
        for name, text in NAUGHTY.items()
    ]
    incoming = platform.folder / "incoming"
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, ["id", "at", "text", "title"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    (incoming / "a.csv").write_bytes(sink.getvalue().encode())
    lines = [json.dumps(row, ensure_ascii=bool(n % 2)) for n, row in enumerate(rows)]
    (incoming / "a.ndjson").write_text("\n".join(lines), encoding="utf-8", newline="")
    pq.write_table(pa.Table.from_pylist(rows), incoming / "a.parquet")
    platform.run()
    assert platform.rows("SELECT * FROM quarantined_feedback") == []
    for form in ("csv", "ndjson", "parquet"):
        found = platform.rows(
            f"SELECT source_id, body, title FROM raw_feedback WHERE feed = '{form}'"
        )
        assert {name: (body, title) for name, body, title in found} == {
            name: (text, text[:200]) for name, text in NAUGHTY.items()
        }
    scored = platform.rows(
        "SELECT c.feedback_id, c.language, compound FROM cleaned_feedback c"
        " LEFT JOIN current_sentiment s USING (feedback_id)"
    )
    assert len(scored) == 3 * len(NAUGHTY)
    for _, language, compound in scored:
        assert (compound is not None) == (language == "en")
        assert compound is None or (math.isfinite(compound) and -1 <= compound <= 1)
    assert platform.published("SELECT sum(post_count) FROM daily_sentiment") == [(len(scored),)]
    assert "\x1b" not in platform.cli("preview", "csv", "--rows", "100")
    assert platform.run()["changed_table_days"] == 0


UNITS = {
    "one letter": "a",
    "one emoji": "😀",
    "joined emoji": "👨\u200d",
    "less-than signs": "<",
    "combining marks": "\u0301",
    "towers": "a\u0301\u0302",
    "spaces": " ",
    "line ends": "\n",
    "marks": "!?",
    "rated words": "GOOD! ",
    "broken encodings": "â€™",
    "different words": None,
}


def cpu_seconds_of_the_way(name: str, length: int) -> float:
    unit = UNITS[name]
    text = unit * (length // len(unit)) if unit else " ".join(f"w{n}" for n in range(length // 8))
    at = pa.array([0], pa.timestamp("us", tz="UTC"))
    known = {"feedback_id": ["a:1"], "feed": ["a"], "content_hash": ["x"], "author_id": ["y"]}
    raw = pa.table({**known, "posted_at": at, "title": [None], "body": [text]})
    raw = raw.append_column("language_hint", pa.nulls(1, pa.string()))
    raw = raw.set_column(5, "title", pa.nulls(1, pa.string()))
    began = time.process_time()
    cleaned = clean_posts(raw, default_languages={"a": "en"}, min_campaign_chars=40)
    VaderModel().score(cleaned["body_clean"])
    return time.process_time() - began


@pytest.mark.parametrize("name", UNITS)
def test_a_long_text_takes_eight_times_as_long_as_an_eighth_of_it(name):
    """A step that takes the square of the length would take 64 times as long."""
    length = 10_000_000 if name == "one letter" else 2_000_000
    cpu_seconds_of_the_way(name, 1_000)
    eighth = cpu_seconds_of_the_way(name, length // 8)
    assert cpu_seconds_of_the_way(name, length) < 24 * eighth + 2
