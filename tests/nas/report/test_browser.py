"""The page as a person meets it: in a real browser, without a network."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.report.page import collect, payload, write_page
from nas.store import Store

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser: pip install playwright")

Make = Callable[..., Any]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]
SECTIONS = ("front", "progress", "choices", "effects", "stopping", "failures", "trials", "provenance")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    with sync_api.sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("no Chromium here: `apt-get install chromium` or `playwright install chromium`")
        # Chromium refuses to put root into its sandbox.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


class Visit:
    """A page that is open, and what it has complained about."""

    def __init__(self, browser: Any, file: Path) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.fetched: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(f"a dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def draw_all(self) -> None:
        for section in SECTIONS:
            self.page.locator(f"#{section}").scroll_into_view_if_needed()
        self.page.wait_for_function("[...document.querySelectorAll('figure .plot')].every(p => p.dataset.drawn)")

    def column(self, place: int) -> list[str]:
        cells: list[str] = self.page.locator(f"#table tbody tr > :nth-child({place})").all_inner_texts()
        return cells


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[[Store, str], Visit]]:
    """Write the page of a study and open it; whatever it did, it may not complain or fetch."""
    visits = []

    def open_it(store: Store, name: str) -> Visit:
        file = tmp_path / "report.html"
        write_page(file, payload(collect(store, name)))
        visits.append(Visit(browser, file))
        return visits[-1]

    yield open_it
    for one in visits:
        one.context.close()
        assert one.errors == []
        assert [url for url in one.fetched if not url.startswith(("file:", "blob:", "data:"))] == []


def test_pointing_at_a_trial_shows_its_network_and_a_click_its_card(visit: Make, filled: Store) -> None:
    page = visit(filled, "camvid").page

    best = page.locator("#front-plot .scatterlayer .trace .points path").last
    best.hover(force=True)
    page.wait_for_selector("#tip:not([hidden])")
    tip = page.inner_text("#tip")
    assert "Trial 3 · on the front" in tip
    assert "resnet18 · psa · last · linear" in tip
    assert "mIoU 0.5000, MACs 40.0\N{NO-BREAK SPACE}G" in tip

    best.click(force=True)
    page.wait_for_selector("#card:not([hidden])")
    card = page.inner_text("#card")
    for said in ("Trial 3", "3 of 3", "0.5000", "400\N{NO-BREAK SPACE}M", "nas show camvid 3"):
        assert said in card
    assert page.locator("#card-plot .scatterlayer .points path").count() == 3
    assert page.evaluate("document.activeElement.id") == "card-title"
    page.get_by_text("Every option, chosen or given").click()
    assert "context.psa.mode" in page.inner_text("#card")

    page.keyboard.press("Escape")
    assert page.locator("#card").is_hidden()


def test_the_table_is_sorted_by_mouse_and_keyboard(visit: Make, filled: Store) -> None:
    opened = visit(filled, "camvid")
    page = opened.page
    head = page.locator("#table th[data-name='miou']")
    opened.draw_all()

    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert opened.column(3) == ["0.5000", "0.4000", "0.3500", "0.2000", "0.1000", ""]

    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert opened.column(3) == ["0.1000", "0.2000", "0.3500", "0.4000", "0.5000", ""]
    assert page.locator("#table th[aria-sort='ascending'], #table th[aria-sort='descending']").count() == 1


def test_nothing_moves_under_the_pointer_while_pictures_are_drawn(visit: Make, filled: Store) -> None:
    opened = visit(filled, "camvid")
    tops = "[...document.querySelectorAll('main section')].map(one => one.getBoundingClientRect().top + scrollY)"
    before = opened.page.evaluate(tops)
    opened.draw_all()
    # Captions take a line more or less than was kept free for them.
    assert opened.page.evaluate(tops) == pytest.approx(before, abs=100)


def test_the_table_is_searched_by_several_words(visit: Make, filled: Store) -> None:
    opened = visit(filled, "camvid")
    opened.draw_all()

    opened.page.fill("#search", "PPM resnet18")
    assert opened.column(1) == ["● 1", "2"]
    assert opened.page.inner_text("#matches") == "2 of 6 trials"
    opened.page.fill("#search", "")
    opened.page.select_option("#which", "front")
    assert opened.column(1) == ["● 0", "● 1", "● 3"]

    opened.page.locator("#table tbody tr").nth(2).click()
    assert "Trial 3" in opened.page.inner_text("#card")


def test_the_front_can_be_drawn_over_other_figures(visit: Make, filled: Store) -> None:
    opened = visit(filled, "camvid")
    page = opened.page

    page.select_option("#across", "params")
    page.select_option("#upwards", "miou_best")
    assert "on the front of best mIoU and parameters" in page.inner_text("#front-words")
    page.select_option("#colour", "context")
    assert {"none", "ppm", "psa"} <= set(page.locator("#front-plot .legendtext").all_text_contents())


def test_what_others_wrote_does_nothing(visit: Make, store: Store, hostile: Make, hostile_text: str) -> None:
    hostile(store)
    opened = visit(store, hostile_text)
    page = opened.page

    opened.draw_all()
    for details in page.locator("summary").all():
        details.click()
    for place in range(page.locator("#table tbody tr").count()):
        page.locator("#table tbody tr button").nth(place).click()
        page.get_by_text("Every option, chosen or given").click()
        page.get_by_role("button", name="Close").click()
    for name in page.locator("#colour option").evaluate_all("all => all.map(one => one.value)"):
        page.select_option("#colour", name)
    page.locator("#front-plot .scatterlayer .trace .points path").last.hover(force=True)

    assert page.evaluate("typeof planted") == "undefined"
    assert page.locator("script").count() == 3
    assert page.locator("img").count() == 0
    assert page.title() == hostile_text
    assert page.inner_text("#name") == hostile_text
    assert hostile_text in page.inner_text("#failures")
    assert hostile_text in page.inner_text("#provenance")


def test_nobody_else_s_script_would_run(visit: Make, filled: Store) -> None:
    opened = visit(filled, "camvid")

    opened.page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'planted = 1'; document.body.append(one) }"
    )

    assert opened.page.evaluate("typeof planted") == "undefined"
    assert "Content Security Policy" in opened.errors.pop()


@pytest.mark.parametrize(
    "odd", ["empty", "failures", "one", "equal", "not_a_number", "one_class", "no_objectives"], indirect=True
)
def test_odd_studies_are_shown_without_a_complaint(visit: Make, odd: Store) -> None:
    opened = visit(odd, "odd")

    opened.draw_all()
    for section in SECTIONS:
        drawn = opened.page.locator(f"#{section} .main-svg").count() > 0
        assert drawn or len(opened.page.inner_text(f"#{section}").split()) > 3
    buttons = opened.page.locator("#table tbody tr button")
    for place in range(buttons.count()):
        buttons.nth(place).click()
        assert opened.page.locator("#card").is_visible()
        opened.page.keyboard.press("Escape")


def test_a_thousand_trials_stay_usable(visit: Make, store: Store, many: Make, add: Make, tmp_path: Path) -> None:
    many(store, add, 1000)
    opened = visit(store, "camvid")
    page = opened.page

    assert (tmp_path / "report.html").stat().st_size < 10_000_000
    opened.draw_all()
    page.emulate_media(color_scheme="dark")  # all is drawn again
    assert page.locator("#table tbody tr").count() == 100
    page.get_by_role("button", name="Next").click()
    assert page.inner_text("#pages").split("Next")[0].strip().endswith("Page 2 of 10")
    page.fill("#search", "failed loss")
    assert page.inner_text("#matches") == "100 of 1000 trials"
    page.fill("#search", "")
    page.locator("#front").scroll_into_view_if_needed()
    page.locator("#front-plot .scatterlayer .trace .points path").last.hover(force=True)
    page.wait_for_selector("#tip:not([hidden])")
    assert "400 of 700 went on" in page.text_content("#rungs-plot")
