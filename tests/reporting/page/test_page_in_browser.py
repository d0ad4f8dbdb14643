"""The report in headless Chromium: clicks, hovers, filters, answers, schemes, sizes, scripts off, accessibility."""

import json
import os
import time
from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.reporting.browser import needs_browser
from tests.reporting.chromium import Browser
from tests.reporting.example import CHOSEN
from tests.reporting.page_example import NASTY, nasty_study, write_page

pytestmark = [needs_browser, pytest.mark.slow]
READY = "document.documentElement.dataset.ready"
BEST = f"pocket-linear-w{CHOSEN['linear']}-s0"
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))  # npm install axe-core


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_page(nasty_study(), tmp_path_factory.mktemp("page"))


@pytest.fixture
def shown(browser, page):
    """The page as opened, without errors or requests."""
    browser.errors.clear()
    browser.open(page, ready=READY)
    yield browser
    assert browser.errors == []


def _rows(browser):
    return browser.js("[...document.querySelectorAll('#models tbody tr')].map(row => row.dataset.model)")


def _text(browser, selector):
    return browser.js(f"document.querySelector({json.dumps(selector)}).textContent")


def test_the_page_is_small_and_names_stay_text(shown, page):
    assert page.stat().st_size < 3_000_000
    assert shown.js("document.title").startswith(NASTY)
    assert shown.js("typeof title") == "undefined"  # the script in the names has not run
    assert shown.js("document.images.length") == 0
    assert NASTY.replace("_", " ") in _text(shown, "#chips")


def test_pointing_at_a_merge_shows_its_scores_and_its_command(shown):
    marks = "[...document.querySelectorAll('#plane .mark-symbol path')]"
    at = f"{marks}.find(one => one.ariaLabel?.startsWith('Linear 0.4'))"
    shown.js("document.querySelector('#plane').scrollIntoView({behavior: 'instant'})")
    shown.hover(*shown.js(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({at}.getBoundingClientRect())"))
    shown.wait("document.querySelector('#card h3').textContent.includes('Linear 0.4')")
    assert "codegen 0.4, codesum 0.6" in _text(shown, "#card")
    assert "python merge.py model=pocket merge=linear merge.weight=0.4" in _text(shown, "#card")
    assert shown.js("document.querySelectorAll('#card dl > div').length") == 7
    shown.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    shown.click("#card .command button")
    shown.wait("document.querySelector('#card .command button').textContent == 'copied'")


def test_split_task_and_method_change_charts_and_table(shown):
    assert len(_rows(shown)) == 40
    shown.click(f'input[data-group="merge {"linear"}"] + span')
    shown.wait("document.querySelectorAll('#models tbody tr').length == 31")
    shown.wait("![...document.querySelectorAll('#plane path')].some(one => one.ariaLabel?.startsWith('Linear'))")
    shown.choose("#split", "test")
    shown.wait("document.querySelectorAll('#models tbody tr').length == 7")
    shown.choose("#task", "codesum")
    shown.wait("document.querySelectorAll('#models thead th').length == 2 + 4 + 1")
    shown.choose("#up", "average")
    shown.wait("document.querySelector('#sweep-title').textContent.startsWith('average change')")


def test_rows_are_sorted_filtered_and_pinned_with_the_keyboard_too(shown):
    shown.click('#models thead button[data-key="pocket_functions pass@1"]')
    values = shown.js("[...document.querySelectorAll('#models tbody tr td:nth-child(3) b')].map(b => +b.textContent)")
    assert values == sorted(values, reverse=True)
    assert shown.js("document.querySelector('#models th:nth-child(3)').ariaSort") == "descending"
    shown.key("Enter", "\r")  # the button keeps the focus
    shown.wait("document.querySelector('#models th:nth-child(3)').ariaSort == 'ascending'")
    shown.write("#filter", "della 0.9")
    shown.wait("document.querySelectorAll('#models tbody tr').length == 1")
    shown.click("#models tbody button.pin")
    shown.js("(f => { f.value = 'linear'; f.dispatchEvent(new Event('input')) })(document.querySelector('#filter'))")
    assert _rows(shown)[0] == "pocket-della-w0.9-s0"
    assert len(_rows(shown)) == 10
    shown.click("#unpin")
    assert len(_rows(shown)) == 9


def test_two_models_side_by_side(shown):
    shown.js("document.querySelector('#two-models').scrollIntoView({behavior: 'instant'})")
    shown.wait("document.querySelector('#problem-count').textContent == '6 of 12 problems'")
    first = "document.querySelector('#problem-list .card')"
    assert shown.js(f"{first}.querySelectorAll('.answers pre .k').length") == 4  # def and return, twice
    assert NASTY in shown.js(f"{first}.querySelector('dl').textContent")
    assert "[3]" in shown.js(f"{first}.textContent")
    shown.choose("#outcome", "second")
    shown.wait("document.querySelector('#problem-count').textContent == '0 of 12 problems'")
    shown.choose("#outcome", "all")
    shown.wait("document.querySelectorAll('#problem-list .card').length == 10")
    shown.click("#more-problems")
    shown.wait("document.querySelectorAll('#problem-list .card').length == 12")
    shown.write("#search", "nothing like this")
    shown.wait("document.querySelector('#problem-count').textContent == '0 of 12 problems'")


def test_answers_beside_the_page(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("src.reporting.page.build.IN_PAGE", 100)
    browser.errors.clear()
    browser.open(write_page(nasty_study(), tmp_path), ready=READY)
    browser.js("document.querySelector('#two-models').scrollIntoView({behavior: 'instant'})")
    browser.wait("document.querySelector('#problem-count').textContent == '6 of 12 problems'")
    (tmp_path / "samples" / "0.js").unlink()
    browser.open(tmp_path / "report.html", ready=READY)
    browser.js("document.querySelector('#two-models').scrollIntoView({behavior: 'instant'})")
    browser.wait("document.querySelector('#problem-count').textContent == 'samples/0.js is not beside this page'")


def test_heat_maps_follow_the_measure(shown):
    shown.js("document.querySelector('#heat-maps').scrollIntoView({behavior: 'instant'})")
    before = shown.js("document.querySelectorAll('#heat-map .layer_0_marks path').length")
    shown.choose("#measure", "sign_conflict")
    shown.wait("document.querySelector('#heat-note').textContent.includes('opposite directions')")
    shown.wait("document.querySelectorAll('#heat-map .layer_0_marks path').length == 6")
    assert before > 6
    at = "document.querySelector('#heat-map .layer_0_marks path').getBoundingClientRect()"
    shown.hover(*shown.js(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({at})"))
    shown.wait("document.querySelector('#heat-cell').textContent.startsWith('embed_tokens, all: ')")


@pytest.mark.parametrize("width", [390, 1024, 1280, 1440])
def test_nothing_is_wider_than_the_window(browser, page, width):
    browser.open(page, width=width, ready=READY)
    assert browser.js("document.documentElement.scrollWidth") <= width
    if width >= 1280:
        wide = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
        assert browser.js(f"(document.querySelectorAll('details').forEach(one => one.open = true), {wide})") == 0


def test_each_scheme_has_its_own_paper(browser, page, tmp_path):
    for dark in (False, True):
        browser.open(page, dark=dark, ready=READY)
        browser.picture(tmp_path / "page.png")
        corner = imread(tmp_path / "page.png")[700, 5, :3].mean()
        assert corner < 0.2 if dark else corner > 0.9


def test_without_scripts_the_still_figures_are_there(browser, page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.call("Page.navigate", url=page.as_uri())
    end, seen = time.monotonic() + 20, {}
    while time.monotonic() < end and not seen.get("#grid table"):
        root = browser.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        seen = {name: _is_drawn(browser, root, name) for name in (".carrier .drawing", "#grid table", "#explore")}
    assert seen == {".carrier .drawing": True, "#grid table": True, "#explore": False}


def _is_drawn(browser, root, selector):
    try:
        node = browser.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        return browser.call("DOM.getBoxModel", nodeId=node)["model"]["height"] > 100
    except AssertionError:
        return False


def test_it_prints(browser, page, tmp_path):
    browser.open(page, ready=READY)
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 100_000


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core; npm install axe-core, or AXE_CORE=FILE")
def test_axe_has_no_serious_finding(browser, page):
    browser.open(page, ready=READY)
    browser.js("document.querySelector('#two-models').scrollIntoView({behavior: 'instant'})")
    browser.wait("document.querySelector('#problem-count').textContent")
    browser.js(f"{AXE.read_text(encoding='utf-8')};0")
    found = browser.js(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => [v.impact, v.id]))"
    )
    assert [one for one in found if one[0] in ("serious", "critical")] == []
