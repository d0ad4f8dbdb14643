"""Self-contained HTML pages from the templates beside this file: all text is escaped, nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.reporting.colors import css_variables

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **values: Any) -> str:
    """Render a template as HTML.

    Args:
        template: Name of its file.
        values: Its variables; `light` and `dark`, the colors as CSS declarations, are added.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined,
        autoescape=True, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found = environment.get_template(template)
    return found.render(light=Markup(css_variables(0)), dark=Markup(css_variables(1)), **values)
