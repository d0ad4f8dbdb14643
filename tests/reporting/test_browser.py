"""The report in a real browser: nothing overflows on small and large screens, and both color schemes are drawn."""

import pytest

from src.reporting.view import study_view
from src.reporting.write import render_html
from tests.reporting.browser import SCHEMES, draw, needs_browser
from tests.reporting.example import study

pytestmark = needs_browser
VALUES = """
  const page = document.documentElement;
  const inner = [...document.querySelectorAll("svg, p, h1, h2, figcaption, .scroll, .drawing")];
  const right = Math.max(...inner.map(element => element.getBoundingClientRect().right));
  const box = document.querySelector(".first").getBoundingClientRect();
  const found = [page.clientWidth, page.scrollWidth, Math.ceil(right), box.top]
"""


@pytest.fixture(scope="module", params=list(SCHEMES))
def shown(request, tmp_path_factory):
    """(scheme, width -> [client width, scroll width, right end of the content, top of the first figure], picture)."""
    html = render_html(study_view(study()))
    return request.param, *draw(tmp_path_factory.mktemp(request.param), html, VALUES, request.param)


def test_nothing_overflows(shown):
    _, sizes, _ = shown
    for width, (client, scrolled, right, _) in sizes.items():
        assert scrolled <= client <= width
        assert right <= client


def test_each_scheme_has_its_own_paper_and_ink(shown):
    """The corner of the page is the paper; the rows of the title hold its ink."""
    scheme, sizes, picture = shown
    paper = picture[600, 2, :3].mean()
    title = picture[: int(sizes[390][3]), :390, :3].mean(axis=2)
    assert (paper > 0.95 and title.min() < 0.3) if scheme == "light" else (paper < 0.15 and title.max() > 0.7)
