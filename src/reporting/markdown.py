"""The report as Markdown, beside a `figures/` folder."""

from __future__ import annotations

import re

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.reporting.html import TEMPLATES
from src.reporting.view import View


def render_markdown(view: View) -> str:
    """The whole text; numbers are those of the HTML page, figures are links into `figures/`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = escape
    text = environment.get_template("report.md.j2").render(view=view)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is, also inside a table cell.

    Example:
        >>> escape("a_b | <c>")
        'a\\_b \\| &lt;c&gt;'
    """
    text = re.sub(r"([\\`*_\[\]|])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
