"""The reference study's weight analysis by layer (arXiv 2601.21115, Figures 2 and 3), from `Diagnosis` tables."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from src.checkpoints.layers import block_of, kind_of
from src.reporting.figures.pictures import Picture
from src.reporting.format import significant
from src.reporting.study_report import Models
from src.reporting.style import drawing, legend_below, light, looks_of, new_figure

CORRELATIONS = {"pearson": "all updates", "pearson_thresholded": "large updates only (30% rule)"}
_OUTER = {"embeddings": "emb", "norm": "norm", "lm_head": "head"}
PAIR_COLORS = ("blue", "red", "green", "gold", "cyan", "brown")


def norm_pictures(layers: pd.DataFrame, models: Models) -> list[Picture]:
    """Figure 2: layer-wise L2 of every variant against the base, as the study averages it and relative to the base."""
    mean = "L2 norm of the update, averaged over a layer's weight tensors, as in Figure 2 of the reference study."
    relative = "L2 norm of a layer's whole update, divided by the L2 norm of the base's parameters in that layer."
    return [
        _norms(layers, models, "figure2-l2", "Figure 2. Distance from the base by layer", "l2_mean", mean),
        _norms(layers, models, "figure2-relative", "Distance relative to the base", "relative_l2", relative),
    ]


def correlation_picture(correlations: pd.DataFrame, models: Models) -> Picture | None:
    """Figure 3: layer-wise Pearson correlation of the specialists' updates; None with fewer than two specialists."""
    pairs = specialist_pairs(correlations, models)
    if not pairs:
        return None
    with drawing():
        figure, axes = new_figure(5.6, 4.2)
        for index, (pair, rows) in enumerate(pairs.items()):
            color = light(PAIR_COLORS[index % len(PAIR_COLORS)])
            for (column, meaning), (marker, line) in zip(CORRELATIONS.items(), (("o", "-"), ("s", "--")), strict=True):
                label = meaning if len(pairs) == 1 else f"{pair}: {meaning}"
                axes.plot(
                    _positions(list(rows["layer"])),
                    rows[column],
                    marker=marker,
                    linestyle=line,
                    color=color,
                    label=label,
                )
            _layer_ticks(axes, list(rows["layer"]))
        axes.axhline(0, color=light("muted"), linewidth=1.0, zorder=1)
        axes.set_ylabel("Pearson correlation")
        legend_below(axes, 1, 0.2)
    caption = (
        "Pearson correlation of the specialists' updates in a layer's weight tensors: of all updates, and with updates "
        "below 30% of their tensor's largest magnitude set to zero, as in Figure 3 of the reference study."
    )
    said = "; ".join(f"{pair}: {_ranges(rows)}" for pair, rows in pairs.items())
    return Picture(
        "figure3-pearson", "Figure 3. Correlation of the specialists' updates", caption, f"{caption} {said}.", figure
    )


def layer_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of whole layers, without those of single module kinds or the whole model."""
    return table[(table["kind"] == "all") & (table["layer"] != "all")]


def specialist_pairs(correlations: pd.DataFrame, models: Models) -> dict[str, pd.DataFrame]:
    """Layer rows by pair of specialists, under a label such as `"codegen and codesum"`."""
    specialists = {name: model.task or name for name, model in models.items() if model.kind == "specialist"}
    rows = layer_rows(correlations)
    rows = rows[rows["first"].isin(specialists) & rows["second"].isin(specialists)]
    return {
        f"{specialists[str(first)]} and {specialists[str(second)]}": group
        for (first, second), group in rows.groupby(["first", "second"], sort=False)
    }


def variants_in_order(layers: pd.DataFrame, models: Models) -> list[str]:
    """The variants that have rows and a model, in the order of the models."""
    present = set(layers["variant"])
    return [name for name in models if name in present]


def _norms(layers: pd.DataFrame, models: Models, key: str, title: str, column: str, caption: str) -> Picture:
    looks, scale = looks_of(models), 100.0 if column == "relative_l2" else 1.0
    said = []
    with drawing():
        figure, axes = new_figure(5.6, 4.4)
        for name in variants_in_order(layers, models):
            rows, look, label = layer_rows(layers[layers["variant"] == name]), looks[name], models[name].label
            values, places = scale * rows[column], _positions(list(rows["layer"]))
            axes.plot(places, values, color=look.color, marker=look.marker, linestyle=look.line, label=label)
            said.append(f"{label} {significant(values.min())} to {significant(values.max())}")
            _layer_ticks(axes, list(rows["layer"]))
        axes.set_ylim(bottom=0)
        axes.set_ylabel("‖update‖ / ‖base‖, %" if scale > 1 else "mean L2 norm of the updates")
        legend_below(axes, 2, 0.18)
    return Picture(key, title, caption, f"{caption} Over the layers: {'; '.join(said)}.", figure)


def _positions(layers: list[str]) -> list[float]:
    """x of each layer: the first block at 0 and the others one apart; before and after them, a tick label apart."""
    blocks = [index for index, layer in enumerate(layers) if block_of(layer) is not None]
    first, last = (blocks[0], blocks[-1]) if blocks else (0, -1)
    gap = max(1.0, len(blocks) / 8)
    return [
        gap * (index - first) if index < first else min(index, last) - first + gap * max(0, index - last)
        for index in range(len(layers))
    ]


def _layer_ticks(axes: Axes, layers: list[str]) -> None:
    blocks = [layer for layer in layers if block_of(layer) is not None]
    step = 1 + len(blocks) // 12
    kept = {
        x: _tick(layer)
        for x, layer in zip(_positions(layers), layers, strict=True)
        if layer not in blocks or blocks.index(layer) % step == 0
    }
    axes.set_xticks(list(kept), list(kept.values()))
    axes.set_xlabel("layer")


def _tick(layer: str) -> str:
    block = block_of(layer)
    return _OUTER.get(kind_of(layer), layer) if block is None else str(block)


def _ranges(rows: pd.DataFrame) -> str:
    return " and ".join(
        f"{meaning} {rows[column].min():.2f} to {rows[column].max():.2f}" for column, meaning in CORRELATIONS.items()
    )
