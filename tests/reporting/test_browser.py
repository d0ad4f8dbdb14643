"""The report in a real browser: nothing overflows on small and large screens, and both color schemes are drawn."""

import re
import shutil
import subprocess

import pytest
from matplotlib.image import imread

from src.reporting.view import study_view
from src.reporting.write import render_html
from tests.reporting.example import study

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH")
WIDTHS = (390, 1280)
# A window is at least 500 pixels wide, a frame may be as narrow as a phone. The copy of the page reports from inside
# its frame, so that no access between frames is needed.
REPORTER = """<script>onload = () => {
  const page = document.documentElement;
  const inner = [...document.querySelectorAll("svg, p, h1, h2, figcaption, .scroll, .drawing")];
  const right = Math.max(...inner.map(element => element.getBoundingClientRect().right));
  const box = document.querySelector(".verdict").getBoundingClientRect();
  parent.postMessage([innerWidth, page.clientWidth, page.scrollWidth, Math.ceil(right), box.top].join(" "), "*");
}</script></body>"""
LISTENER = (
    """<script>onmessage = event => { document.body.dataset["w" + event.data.split(" ")[0]] = event.data }</script>"""
)
SCHEMES = {"dark": 0, "light": 1}


@pytest.fixture(scope="module", params=list(SCHEMES))
def shown(request, tmp_path_factory):
    """(scheme, width -> [inner width, client width, scroll width, right end of the content], picture)."""
    place = tmp_path_factory.mktemp(request.param)
    html = render_html(study_view(study()))
    (place / "page.html").write_text(html.replace("</body>", REPORTER), encoding="utf-8")
    frames = "".join(
        f'<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>' for width in WIDTHS
    )
    (place / "frames.html").write_text(f'<body style="margin:0">{LISTENER}{frames}</body>', encoding="utf-8")
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1700,900"),
        *(f"--blink-settings=preferredColorScheme={SCHEMES[request.param]}", f"--user-data-dir={place / 'profile'}"),
        *(f"--screenshot={place / 'page.png'}", "--virtual-time-budget=3000", "--dump-dom"),
        (place / "frames.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    sizes = {
        int(width): [float(number) for number in numbers.split()]
        for width, numbers in re.findall(r'data-w(\d+)="([^"]*)"', done.stdout)
    }
    assert set(sizes) == set(WIDTHS), done.stderr[-2000:]
    return request.param, sizes, imread(place / "page.png")


def test_nothing_overflows(shown):
    _, sizes, _ = shown
    for width, (inner, client, scrolled, right, _) in sizes.items():
        assert inner == width
        assert scrolled <= client <= width
        assert right <= client


def test_each_scheme_has_its_own_paper_and_ink(shown):
    """The corner of the page is the paper; the rows of the title hold its ink."""
    scheme, sizes, picture = shown
    paper = picture[600, 2, :3].mean()
    title = picture[: int(sizes[390][4]), :390, :3].mean(axis=2)
    assert (paper > 0.95 and title.min() < 0.3) if scheme == "light" else (paper < 0.15 and title.max() > 0.7)
