import matplotlib as mpl
import pytest

from src.reporting.colors import COLORS, css_variables
from src.reporting.names import METHODS
from src.reporting.style import drawing, looks_of, method_looks
from tests.reporting.example import study


def _luminance(color: str) -> float:
    """Relative luminance by WCAG 2.1."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("name", [name for name in COLORS if name not in ("paper", "rule")])
def test_every_color_is_readable_as_text_on_its_paper(name, mode):
    """Contrast of at least 4.5 to 1 (WCAG 2.1, AA), since series are labeled in their own colors."""
    bright, dark = sorted((_luminance(COLORS[name][mode]), _luminance(COLORS["paper"][mode])), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_no_two_methods_differ_by_color_alone():
    looks = method_looks([*METHODS, "one", "of", "my", "own", "methods"])
    assert len({(look.marker, str(look.line)) for look in looks.values()}) == len(looks)


def test_a_method_keeps_its_look_in_every_company():
    assert method_looks(["ties"])["ties"] == method_looks(["other", "linear", "ties"])["ties"]


def test_more_methods_than_looks():
    assert len(method_looks([f"method{i}" for i in range(12)])) == 12


def test_points_of_one_method_look_alike_and_markers_tell_the_rest_apart():
    report = study()
    looks = looks_of(report.models)
    assert looks["pocket-ties-w0.1-s0"] == looks["pocket-ties-w0.9-s0"]
    names = ("pocket-base", *report.specialists.values(), "pocket-mix", "pocket-ties-w0.1-s0")
    assert len({looks[name].marker for name in names}) == 5


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    with drawing():
        assert mpl.rcParams["svg.hashsalt"] == "mixmerge"
    assert dict(mpl.rcParams) == before


def test_colors_are_unique_so_that_each_maps_to_one_variable():
    lights = [light for light, _ in COLORS.values()]
    assert len(set(lights)) == len(lights)
    assert "--ink: #e6e9ef;" in css_variables(1)
