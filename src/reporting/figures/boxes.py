"""Figure 4: box plots over layers of the norms and correlations of the weight updates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from src.reporting.figures.pictures import Picture
from src.reporting.figures.weights import CORRELATIONS, PAIR_COLORS, layer_rows, specialist_pairs, variants_in_order
from src.reporting.format import significant
from src.reporting.study_report import Models
from src.reporting.style import drawing, light, looks_of, new_figure

BOX = "Line: median over layers; box: quartiles; whiskers: up to 1.5 box lengths; dots: single layers."
READING = "The reference study does not say exactly what its Figure 4 plots; this is our reading."


def box_pictures(layers: pd.DataFrame, correlations: pd.DataFrame, models: Models) -> list[Picture]:
    """Figure 4: layer-wise relative L2 of every variant, layer-wise Pearson correlation of every specialist pair."""
    looks = looks_of(models)
    norms = {
        models[name].label: (100 * layer_rows(layers[layers["variant"] == name])["relative_l2"], looks[name].color)
        for name in variants_in_order(layers, models)
    }
    pairs = specialist_pairs(correlations, models)
    alike = {
        (meaning if len(pairs) == 1 else f"{pair}, {meaning}"): (rows[column], light(PAIR_COLORS[index % 6]))
        for index, (pair, rows) in enumerate(pairs.items())
        for column, meaning in CORRELATIONS.items()
    }
    pictures = [
        _boxes(
            "figure4-l2",
            "Figure 4. Spread of the distances over layers",
            norms,
            "‖update‖ / ‖base‖ of a layer, %",
            f"{BOX} {READING}",
        ),
        _boxes(
            "figure4-pearson",
            "Spread of the correlations over layers",
            alike,
            "Pearson correlation of the specialists' updates",
            BOX,
        ),
    ]
    return [picture for picture in pictures if picture is not None]


def _boxes(key: str, title: str, series: dict[str, tuple[pd.Series, str]], axis: str, caption: str) -> Picture | None:
    found = {label: (values.dropna().to_numpy(), color) for label, (values, color) in series.items()}
    found = {label: (values, color) for label, (values, color) in found.items() if len(values)}
    if not found:
        return None
    with drawing():
        figure, axes = new_figure(5.6, 1.3 + 0.4 * max(3, len(found)))
        for height, (values, color) in enumerate(found.values()):
            line = {"color": color, "linewidth": 1.4}
            axes.boxplot(
                values,
                orientation="horizontal",
                positions=[height],
                widths=0.55,
                showfliers=False,
                boxprops=line,
                whiskerprops=line,
                capprops=line,
                medianprops={"color": color, "linewidth": 2.6},
            )
            # The spread of the dots is fixed, so that equal data give equal files.
            spread = height + 0.16 * np.resize([-1.0, 0.0, 1.0, 0.5, -0.5], len(values))
            axes.plot(values, spread, linestyle="none", marker="o", markersize=3, color=color, alpha=0.55)
        axes.set_yticks(range(len(found)), list(found))
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelcolor=light("ink"))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(axis)
    said = "; ".join(f"{label} median {significant(float(np.median(values)))}" for label, (values, _) in found.items())
    return Picture(key, title, caption, f"{axis}, by layer. {caption} {said}.", figure)
