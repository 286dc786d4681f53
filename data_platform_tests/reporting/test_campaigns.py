"""Posts with nearly the same text are folded, others are not."""

from datetime import date, timedelta

import pyarrow as pa

from data_platform.reporting.campaigns import fold_texts, read_texts, refresh_campaigns

DAY = date(2026, 3, 30)
CALL = "say no to the new fees of this bank and sign our letter today number {}"


def folded(*texts):
    ids = [str(n) for n in range(len(texts))]
    table = pa.table({"feedback_id": ids, "body_clean": pa.array(texts, pa.string())})
    return fold_texts(table)["campaign_id"].to_pylist()


def campaigns(warehouse, columns):
    with warehouse.transaction() as transaction:
        found = fold_texts(read_texts(transaction, DAY))
        refresh_campaigns(transaction, found, DAY)
        return transaction.connection.execute(f"SELECT {columns} FROM campaigns").fetchall()


def test_case_punctuation_and_a_changed_word_are_one_campaign():
    assert folded(
        "Say no to the new fees of this bank and sign our letter today",
        "RT: say NO to the new fees of this bank, and sign our letter today!!!",
        "something else that nobody else has written anywhere so far",
        "say no to the new fees of this bank and sign our letter tomorrow",
    ) == ["0", "0", "2", "0"]


def test_texts_that_share_half_of_their_words_are_two_opinions():
    assert folded(
        "the staff at the desk was friendly but the room was dirty",
        "the staff at the desk was rude and nobody cleaned for days",
    ) == ["0", "1"]


def test_no_texts_fold_to_none():
    assert folded() == []


def test_a_campaign_is_one_row_with_its_posts_authors_and_days(warehouse, fill):
    (first,) = fill(DAY - timedelta(days=3), text=CALL, author_id="a", label="negative")
    fill(DAY - timedelta(days=1), 3, text=CALL, author_id="b", label="negative")
    fill(DAY, 2, feed="forum", text=CALL, author_id="c", label="positive")
    fill(DAY, 4, text="four people who said the same are no campaign yet {}")
    found = campaigns(
        warehouse, "campaign_id, feed_count, post_count, author_count, net_sentiment_share"
    )
    assert found == [(first, 2, 6, 3, round(-2 / 6, 6))]


def test_copies_of_a_text_count_for_its_campaign(warehouse, fill):
    (first,) = fill(DAY, text=CALL)
    fill(DAY, 9, text=CALL.format(1), duplicate_of=first)
    assert campaigns(warehouse, "post_count, text_count") == [(10, 1)]


def test_old_campaigns_leave_the_table(warehouse, fill):
    fill(DAY - timedelta(days=40), 9, text=CALL)
    assert campaigns(warehouse, "*") == []
