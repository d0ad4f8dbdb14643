"""A figure with its caption and alt text, as a file or inline in a page."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.sax.saxutils import escape

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from src.reporting.colors import COLORS
from src.reporting.style import drawing
from src.utils.files import atomic_open, write_text


@dataclass(frozen=True)
class Picture:
    """One figure.

    Args:
        key: File name without ending, and the prefix of its SVG ids.
        title: Short heading.
        caption: What the figure shows and how it was computed.
        alt: Alt text for readers who cannot see it, numbers included.
        figure: Drawn in the light colors.
    """

    key: str
    title: str
    caption: str
    alt: str
    figure: Figure

    @cached_property
    def svg(self) -> str:
        """The whole SVG file, drawn once."""
        buffer = io.StringIO()
        with drawing():
            FigureCanvasSVG(self.figure).print_figure(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()


def inline_svg(picture: Picture) -> str:
    """An `<svg>` element for an HTML page: no external references, unique ids, colors as CSS variables."""
    svg = picture.svg[picture.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{picture.key}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{picture.key}-", svg)
    for name, (light, _) in COLORS.items():
        svg = svg.replace(light, f"var(--{name})")
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*pt"', "", head)
    return f'{head} role="img" aria-label="{escape(picture.alt, {chr(34): "&quot;"})}">{rest}'.strip()


def write_picture(picture: Picture, directory: Path) -> tuple[Path, Path]:
    """Write `<key>.svg` and `<key>.png` on a light background; the same numbers give the same bytes."""
    svg, png = directory / f"{picture.key}.svg", directory / f"{picture.key}.png"
    write_text(svg, picture.svg)
    with drawing(), atomic_open(png, "wb") as file:
        FigureCanvasAgg(picture.figure).print_figure(file, format="png", metadata={"Software": None})
    return svg, png
