"""Colors of every figure and page, readable on light and dark backgrounds."""

from __future__ import annotations

# name: (light, dark)
COLORS = {
    "paper": ("#fefefe", "#15181e"),
    "ink": ("#1f2430", "#e6e9ef"),
    "muted": ("#5c6470", "#a3abb8"),
    "rule": ("#dfe3e8", "#353c48"),
    "gray": ("#6a7383", "#98a1b0"),
    "blue": ("#2f66b0", "#78aef0"),
    "red": ("#cf4257", "#ff8796"),
    "purple": ("#8b3a8f", "#da92dc"),
    "green": ("#1f7f3b", "#5fc97f"),
    "gold": ("#8d6900", "#dfb845"),
    "cyan": ("#07749d", "#52c3ec"),
    "brown": ("#8a583a", "#d09b78"),
    "slate": ("#566274", "#afb9c8"),
}


def css_variables(mode: int) -> str:
    """The colors as CSS declarations; `mode` 0 is light, 1 is dark."""
    return " ".join(f"--{name}: {shades[mode]};" for name, shades in COLORS.items())
