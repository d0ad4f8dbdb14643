"""Vega, Vega-Lite and Vega-Embed (BSD-3) as one script, from the installed vl-convert: nothing is downloaded."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from src.utils.files import user_cache, write_text


@cache
def chart_library() -> str:
    """The script, which defines `vegaEmbed`; bundling takes seconds, so it is kept in the user's cache."""
    import vl_convert  # loads a JavaScript engine of 60 MB

    path = user_cache("charts") / f"vega-{version('vl-convert-python')}.js"
    if not path.is_file():
        write_text(path, vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub demands an argument
    return path.read_text(encoding="utf-8")
