import re
from xml.etree import ElementTree

import pytest

from src.reporting.colors import COLORS
from src.reporting.figures.pictures import Picture, inline_svg, write_picture
from src.reporting.style import drawing, light, new_figure


def _picture(label="plain", key="one", alt="Two points.") -> Picture:
    with drawing():
        figure, axes = new_figure()
        axes.plot([0, 1], [2, 3], marker="o", color=light("blue"), label=label)
        axes.legend()
    return Picture(key, "Title", "Caption", alt, figure)


def test_inline_svg_is_well_formed_and_needs_nothing_from_outside():
    svg = inline_svg(_picture())
    ElementTree.fromstring(svg)
    assert "http" not in svg
    assert "<?xml" not in svg
    assert "metadata" not in svg


def test_ids_belong_to_the_picture_and_all_references_resolve():
    one, two = inline_svg(_picture(key="one")), inline_svg(_picture(key="two"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert not ids[0] & ids[1]
    for svg, known in zip((one, two), ids, strict=True):
        referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
        assert referred
        assert referred <= known


def test_colors_follow_the_page():
    svg = inline_svg(_picture())
    for name in ("paper", "ink", "muted", "rule", "blue"):
        assert f"var(--{name})" in svg
    assert not [color for color, _ in COLORS.values() if color in svg]


def test_alternative_text_is_escaped():
    svg = inline_svg(_picture(alt='a < b & "c"'))
    assert ElementTree.fromstring(svg).get("aria-label") == 'a < b & "c"'
    assert ElementTree.fromstring(svg).get("role") == "img"


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", "cost $5 & $6", "a_b^c"])
def test_names_are_drawn_as_they_are(label):
    texts = "".join(ElementTree.fromstring(inline_svg(_picture(label=label))).itertext())
    assert label in texts


def test_files_are_the_same_every_time_and_on_light_paper(tmp_path):
    first = [path.read_bytes() for path in write_picture(_picture(), tmp_path / "a")]
    second = [path.read_bytes() for path in write_picture(_picture(), tmp_path / "b")]
    assert first == second
    assert light("paper") in first[0].decode()
    assert first[1].startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["one.png", "one.svg"]
