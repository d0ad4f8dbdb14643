"""Colors, symbols and lines of the models in the charts of a page: those of the static figures."""

from __future__ import annotations

from typing import Any

from src.reporting.colors import COLORS
from src.reporting.study_report import Models
from src.reporting.style import Look, looks_of

# Matplotlib's marker -> Vega's symbol; a path has its center at 0 and a radius of 1.
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "D": "diamond",
    "P": "cross",
    "d": "M0,-1L.55,0L0,1L-.55,0Z",
    "X": "M-.9,-.5L-.5,-.9L0,-.4L.5,-.9L.9,-.5L.4,0L.9,.5L.5,.9L0,.4L-.5,.9L-.9,.5L-.4,0Z",
    "*": "M0,-1.2L.3,-.4L1.14,-.37L.48,.15L.7,.97L0,.5L-.7,.97L-.48,.15L-1.14,-.37L-.3,-.4Z",
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
    "H": "M-.5,-.87L.5,-.87L1,0L.5,.87L-.5,.87L-1,0Z",
    "8": "M-.4,-.95L.4,-.95L.95,-.4L.95,.4L.4,.95L-.4,.95L-.95,.4L-.95,-.4Z",
    "p": "M0,-1L.95,-.3L.6,.8L-.6,.8L-.95,-.3Z",
    "1": "M-.2,0L-.2,1L.2,1L.2,0L.95,-.6L.7,-.9L0,-.3L-.7,-.9L-.95,-.6Z",
    "2": "M-.2,0L-.2,-1L.2,-1L.2,0L.95,.6L.7,.9L0,.3L-.7,.9L-.95,.6Z",
    "3": "M0,-.2L-1,-.2L-1,.2L0,.2L.6,.95L.9,.7L.3,0L.9,-.7L.6,-.95Z",
}
DASHES = {"-": [1, 0], "--": [6, 4], "-.": [6, 3, 1.5, 3], ":": [1.5, 3]}


def marks_of(models: Models) -> dict[str, dict[str, Any]]:
    """Color (a CSS variable), symbol and dashes of every model."""
    return {name: _mark(look) for name, look in looks_of(models).items()}


def _mark(look: Look) -> dict[str, Any]:
    names = {light: name for name, (light, _) in COLORS.items()}
    return {"color": f"var(--{names[look.color]})", "symbol": SYMBOLS[look.marker], "dash": DASHES[look.line]}
