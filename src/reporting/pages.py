"""Pages from the templates beside this file, as self-contained HTML or as Markdown: all text is escaped."""

from __future__ import annotations

import re
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


def render_text(template: str, **values: Any) -> str:
    """Render a template as Markdown; its filter `md` escapes text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
    )
    environment.filters["md"] = escape_markdown
    text = environment.get_template(template).render(**values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escape_markdown(text: str) -> str:
    r"""Text that Markdown shows as it is, also inside a table cell.

    Example:
        >>> escape_markdown("a_b | <c>")
        'a\\_b \\| &lt;c&gt;'
    """
    text = re.sub(r"([\\`*_\[\]|])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
