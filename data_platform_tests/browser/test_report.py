"""The report as a person sees it: from disk, in both colors, on a phone, on paper, and under attack."""

import re
from datetime import date, timedelta

import pytest
from playwright.sync_api import sync_playwright

from data_platform.reporting.report import write_report
from data_platform.reporting.snapshot import publish
from data_platform.reporting.state import Finding
from data_platform.reporting.terms import refresh_rising_terms
from data_platform.schemas import SOURCE_HEALTH
from data_platform.storage.warehouse import Warehouse
from data_platform_tests.browser.conftest import SCREENSHOTS
from data_platform_tests.reporting.conftest import filler, insert

LAST = date(2026, 3, 31)
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '<img src="https://evil.example/x.png" onerror="alert(3)">',
    "<svg onload=alert(4)><iframe src=javascript:alert(5)>",
    "![x](https://evil.example/y.png) [click](javascript:alert(6))",
    "{{ 7 * 7 }} ${alert(8)} {% raw %}",
    '=HYPERLINK("https://evil.example","x") \x1b[31mred\x1b[0m',
    "harmless \u202egnp.exe\u202c \u2066turned\u2069 round",
    "\"'><style>@import 'https://evil.example/z.css'</style><base href=https://evil.example/>",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report over posts whose texts, topics and errors are attacks."""
    home = tmp_path_factory.mktemp("report")
    warehouse = Warehouse(home / "warehouse.duckdb")
    fill = filler(warehouse)
    for back in range(20):
        day = LAST - timedelta(days=back)
        label = "negative" if back % 2 else "positive"
        fill(day, 3, label=label, text="an ordinary day in the shop {}", topic="shoes")
    for number, text in enumerate(HOSTILE):
        safe_for_format = text.replace("{", "{{").replace("}", "}}")
        label = "negative" if number % 2 else "positive"
        fill(LAST, 2, label=label, text=safe_for_format, topic=text, like_count=100 + number)
    with warehouse.transaction() as transaction:
        row = {"feed": "shop", "last_error": HOSTILE[1], "post_count": 1}
        insert(transaction, SOURCE_HEALTH, row)
        transaction.connection.execute(
            "INSERT INTO incidents SELECT 'i', 'shop', ?, 'post_count', 'up', ?, ?, ?, 10, 5, 4, 10,"
            " FALSE",
            [HOSTILE[0], LAST, LAST, LAST],
        )
        refresh_rising_terms(transaction, LAST)
    snapshot = home / "published" / "feedback.duckdb"
    publish(warehouse, snapshot)
    path = home / "report" / "index.html"
    findings = [Finding("error", HOSTILE[2], HOSTILE[0], "2026-03-31")]
    write_report(snapshot, path, findings)
    return path


@pytest.fixture
def browser(chromium):
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


class Visit:
    """A page that notes everything that it should not do."""

    def __init__(self, browser, path, **options):
        self.page = browser.new_page(**options)
        self.told: list[str] = []
        self.page.on("dialog", lambda dialog: (self.told.append(dialog.message), dialog.dismiss()))
        self.page.on("console", lambda message: self.told.append(message.text))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.loaded: list[str] = []
        self.page.on("request", self._note_request)
        self.page.on("response", lambda response: self._note_response(response.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn=true]", timeout=30_000)

    def _note_request(self, request):
        if not request.url.startswith(("file:", "data:")):
            self.told.append(request.url)

    def _note_response(self, url):
        if not url.startswith(("file:", "data:")):
            self.loaded.append(url)

    def shot(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"report_{name}.png", full_page=True)


def test_hostile_texts_are_shown_and_do_nothing(browser, report):
    visit = Visit(browser, report)
    assert visit.told == []
    text = visit.page.inner_text("body")
    for attack in HOSTILE[:6]:
        assert attack in text, "it is shown as it is written"
    assert not re.search("[\x1b\u202e\u2066]", text), "nothing hides or turns text around"
    scripts = visit.page.evaluate("[...document.scripts].filter(s => !s.type).length")
    assert scripts == 2, "Vega's script, and the one that draws"
    assert visit.page.locator("img, iframe, base, link").count() == 0
    visit.page.mouse.move(640, 500)  # a tooltip shows text too
    visit.page.locator("figure").nth(1).locator("svg path").first.hover(force=True)
    visit.page.wait_for_timeout(200)
    assert visit.told == []


def test_the_policy_of_the_page_stops_what_would_get_through(browser, report, tmp_path):
    """Breaks the escaping on purpose: without it nothing may run or load either."""
    html = report.read_text(encoding="utf-8")
    attack = "<script>document.title = 'taken'</script><img src='https://evil.example/x.png'>"
    broken = tmp_path / "broken.html"
    broken.write_text(html.replace("</h1>", f"</h1>{attack}", 1), encoding="utf-8")
    visit = Visit(browser, broken)
    assert visit.page.title() == "Customer feedback"
    refused = [told for told in visit.told if "Content Security Policy" in told]
    assert len(refused) == 2, "the script, and the picture"
    assert visit.loaded == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(browser, report, scheme):
    """WCAG 2.2, success criterion 1.4.3: a contrast of at least 4.5 to 1."""
    visit = Visit(browser, report, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    visit.shot(scheme)
    weak = visit.page.evaluate(
        """() => {
          const light = (rgb) => {
            const [r, g, b] = rgb.match(/[\\d.]+/g).map((v) => v / 255)
              .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (node) => {
            for (let at = node; at; at = at.parentElement) {
              const color = getComputedStyle(at).backgroundColor;
              if (!/rgba\\(0, 0, 0, 0\\)|transparent/.test(color)) return color;
            }
            return "rgb(255, 255, 255)";
          };
          return [...document.querySelectorAll("main *")].filter((node) =>
            [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim()))
            .filter((node) => {
              const ink = node instanceof SVGElement
                ? getComputedStyle(node).fill : getComputedStyle(node).color;
              const [a, b] = [light(ink), light(ground(node))].sort((x, y) => y - x);
              return (a + 0.05) / (b + 0.05) < 4.5;
            }).map((node) => node.outerHTML.slice(0, 80));
        }"""
    )
    assert weak == []


def test_on_a_phone_nothing_is_wider_than_the_screen(browser, report):
    visit = Visit(browser, report, viewport={"width": 390, "height": 844})
    visit.shot("phone")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    assert visit.told == []


def test_every_chart_has_a_name_and_its_numbers_in_a_table(browser, report):
    visit = Visit(browser, report)
    figures = visit.page.locator("figure[data-chart]")
    assert figures.count() >= 4
    for number in range(figures.count()):
        figure = figures.nth(number)
        assert figure.locator(".chart").get_attribute("aria-label")
        assert figure.locator("svg").count() == 1
    assert visit.page.locator("html").get_attribute("lang") == "en"
    levels = visit.page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName)")
    assert levels[0] == "H1"
    assert levels.count("H1") == 1


def test_the_keyboard_reaches_sections_and_tables(browser, report):
    visit = Visit(browser, report)
    reached = []
    for _ in range(60):
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate("document.activeElement.tagName"))
    assert {"A", "SUMMARY", "DIV"} <= set(reached)


def test_on_paper_the_charts_are_dark_on_white_and_the_tables_open(browser, report):
    visit = Visit(browser, report, color_scheme="dark")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    visit.page.wait_for_timeout(1500)
    color = visit.page.locator("figure svg text").first.evaluate("n => getComputedStyle(n).fill")
    assert color == "rgb(28, 39, 51)"
    assert visit.page.locator("details:not([open])").count() == 0
    assert visit.page.pdf().startswith(b"%PDF")


def test_what_is_wrong_stands_on_top(browser, report):
    visit = Visit(browser, report)
    state = visit.page.locator("#state").inner_text()
    assert "Something is wrong: 1" in state
    assert visit.page.evaluate(
        "document.querySelector('#state').compareDocumentPosition(document.querySelector('figure'))"
        " & Node.DOCUMENT_POSITION_FOLLOWING"
    )
