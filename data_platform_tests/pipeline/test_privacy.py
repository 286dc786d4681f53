"""Personal data in the text of posts stays in the raw zone, in whatever way it is written."""

from data_platform.schemas import TABLES
from data_platform_tests.pipeline.conftest import SHOP

PLANTED = {
    "email": "jane.doe.1987@mailbox.example",
    "phone": "(415) 555-0132",
    "card": "4012 8888 8888 1881",
    "iban": "AT61 1904 3002 3457 3201",
    "ip": "198.51.100.177",
    "national_id": "RSSMRA85T10A562S",
}
CANARY = "quokkaphone"
TEXT = f"They lost my {CANARY} order, I hate it so much. " + ", ".join(
    f"{kind} is {value}" for kind, value in PLANTED.items()
)


def post(source_id: str, text: str, user: str = "ann") -> dict[str, str]:
    return {"id": source_id, "at": "2026-04-02T10:00:00Z", "text": text, "user": user}


def deliver(platform, day: int = 3) -> None:
    platform.deliver(
        f"day{day}.csv",
        [
            post("1", TEXT),
            post("2", f"{TEXT} Really.", "bob"),
            post("3", "Mail jane&#46;doe.1987&#64;mailbox<b></b>.example, 40\u200b128888 88881881"),
            *(post(f"n{n}", f"Thank you for parcel {n}, well done") for n in range(40)),
        ],
        day,
    )


def tables_with(platform, value: str) -> set[str]:
    """Name each table of the warehouse of which some column of some row holds `value`."""
    found = set()
    for name, table in TABLES.items():
        texts = ", ".join(f"{column}::VARCHAR" for column in table.column_names)
        sql = f"SELECT count(*) FROM {name} WHERE contains(concat_ws('|', {texts}), '{value}')"
        if platform.rows(sql) != [(0,)]:
            found.add(name)
    return found


def readers_files(platform) -> bytes:
    """Return everything that people and programs read: the snapshot, the report."""
    files = [platform.home / "published" / "feedback.duckdb"]
    files += [path for path in (platform.home / "report").rglob("*") if path.is_file()]
    assert len(files) > 1
    return b"".join(path.read_bytes() for path in files)


def test_personal_data_is_in_no_table_but_raw_feedback_and_in_no_file_for_readers(shop):
    deliver(shop)
    shop.run()
    for kind, value in PLANTED.items():
        assert tables_with(shop, value) == {"raw_feedback"}
        (text,) = shop.published(
            "SELECT body_clean FROM cleaned_feedback WHERE feedback_id = 'shop:1'"
        )
        assert f"{kind} is <{kind}>" in text[0]
    assert shop.published(
        "SELECT body_clean FROM cleaned_feedback WHERE feedback_id = 'shop:3'"
    ) == [("Mail <email>, <card>",)]
    assert tables_with(shop, "<email>") == {"cleaned_feedback"}
    read = readers_files(shop)
    assert CANARY.encode() in read  # texts can be found in these bytes
    assert b"&lt;email&gt;" in read
    for value in PLANTED.values():
        assert value.encode() not in read
    assert shop.run()["changed_table_days"] == 0


def test_what_is_redacted_is_configured_and_a_change_refreshes_the_days(platform_in):
    off = platform_in("shop", {**SHOP, "cleaning": {"redact": []}})
    deliver(off)
    off.run()
    for value in PLANTED.values():
        assert {"raw_feedback", "cleaned_feedback"} <= tables_with(off, value)
    some = platform_in("shop", {**SHOP, "cleaning": {"redact": ["email", "card"]}})
    assert some.run()["changed_table_days"] > 0
    for kind, value in PLANTED.items():
        assert ("cleaned_feedback" in tables_with(some, value)) == (kind not in {"email", "card"})
