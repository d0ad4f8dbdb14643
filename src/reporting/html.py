"""The report as one HTML page that opens anywhere, without a network."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.reporting.pictures import Picture, inline_svg
from src.reporting.style import css_variables
from src.reporting.view import View

TEMPLATES = Path(__file__).parent / "templates"


def render_html(view: View) -> str:
    """The whole page; every text of the study is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(view=view, svg=_svg, light=Markup(css_variables(0)), dark=Markup(css_variables(1)))


def _svg(picture: Picture) -> Markup:
    # Escaped already: matplotlib escapes the texts that it draws, `inline_svg` the alternative text.
    return Markup(inline_svg(picture))
