"""A page in a real browser, at several widths side by side, with numbers that it reports about itself."""

import re
import shutil
import subprocess

import pytest
from matplotlib.image import imread

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"
)
WIDTHS = (390, 1280)
SCHEMES = {"dark": 0, "light": 1}
LISTENER = (
    """<script>onmessage = event => { document.body.dataset["w" + event.data.split(" ")[0]] = event.data }</script>"""
)


def draw(place, html, values, scheme):
    """Draw a page in frames.

    A window is at least 500 pixels wide, a frame may be as narrow as a phone. The copy of the page reports from inside
    its frame, so that no access between frames is needed.

    Args:
        place: Directory for the files.
        html: The page.
        values: JavaScript statements that leave an array of numbers in `found`.
        scheme: `dark` or `light`.

    Returns:
        width -> the numbers, and the picture.
    """
    reporter = (
        f"<script>onload = () => {{ {values}; parent.postMessage([innerWidth, ...found].join(' '), '*'); }}</script>"
    )
    (place / "page.html").write_text(html.replace("</body>", f"{reporter}</body>"), encoding="utf-8")
    frames = "".join(
        f'<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>' for width in WIDTHS
    )
    (place / "frames.html").write_text(f'<body style="margin:0">{LISTENER}{frames}</body>', encoding="utf-8")
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1700,900"),
        *(f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--user-data-dir={place / 'profile'}"),
        *(f"--screenshot={place / 'page.png'}", "--virtual-time-budget=3000", "--dump-dom"),
        (place / "frames.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = {
        int(width): [float(number) for number in numbers.split()][1:]
        for width, numbers in re.findall(r'data-w(\d+)="([^"]*)"', done.stdout)
    }
    assert set(found) == set(WIDTHS), done.stderr[-2000:]
    return found, imread(place / "page.png")
