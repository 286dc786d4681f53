"""Words that rise, and those that do not."""

from datetime import date, timedelta

from data_platform.reporting.terms import RANKS, refresh_rising_terms

LAST = date(2026, 3, 31)
USUAL = "the delivery of order {} came on time and it was fine"


def terms(warehouse, columns="term"):
    with warehouse.transaction() as transaction:
        refresh_rising_terms(transaction, LAST)
        return transaction.connection.execute(
            f"SELECT {columns} FROM rising_terms ORDER BY first_date, feed, language, rank"
        ).fetchall()


def usual_days(fill, count=10):
    for back in (1, 8, 12, 20):
        fill(LAST - timedelta(days=back), count, text=USUAL)


def test_a_word_that_many_hold_now_and_few_before_rises(warehouse, fill):
    usual_days(fill)
    fill(LAST, 10, text="the app crashed again at checkout {}", label="negative")
    found = terms(warehouse, "term, post_count, sample_count, baseline_share, net_sentiment_share")
    by_term = {term: numbers for term, *numbers in found}
    assert by_term["app crashed"] == [10, 20, 0.0, -1.0]
    assert "the" not in by_term, "what is common anyway does not rise"
    assert "app" not in by_term, "the phrase stands for its words"
    assert len(found) <= RANKS


def test_nothing_rises_where_nothing_changed_or_there_is_nothing_to_compare_with(warehouse, fill):
    usual_days(fill)
    fill(LAST, 10, feed="new", text="all of this is new {}")
    assert terms(warehouse) == []


def test_copies_of_one_text_do_not_make_a_word_rise(warehouse, fill):
    usual_days(fill)
    fill(LAST, 20, text="boycott the shop", duplicate_of="shop:1")
    assert terms(warehouse) == []


def test_an_incident_has_terms_of_its_own(warehouse, fill):
    day = LAST - timedelta(days=20)
    for back in (25, 30, 35):
        fill(LAST - timedelta(days=back), 10, text=USUAL)
    fill(day, 10, text="nobody answers the phone {}", label="negative")
    with warehouse.transaction() as transaction:
        transaction.connection.execute(
            "INSERT INTO incidents SELECT 'i', 'shop', 'all', 'post_count', 'up', ?, ?, ?, 10, 5, 4,"
            " 10, TRUE",
            [day, day, day],
        )
    found = terms(warehouse, "first_date, last_date, term")
    assert (day, day, "answers the") in found or (day, day, "nobody answers") in found


def test_the_same_posts_give_the_same_terms(warehouse, fill):
    usual_days(fill)
    fill(LAST, 10, text="the app crashed again at checkout {}", label="negative")
    assert terms(warehouse, "*") == terms(warehouse, "*")
