"""Sentences that say what the weight diagnostics show, written from the numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from src.checkpoints.layers import block_of, kind_of
from src.reporting.figures.weights import layer_rows, specialist_pairs, variants_in_order
from src.reporting.format import significant
from src.reporting.subjects import Subject

Subjects = Mapping[str, Subject]


def norms_reading(layers: pd.DataFrame, subjects: Subjects) -> str:
    """Who moved furthest from the base and who least, and where the specialists moved most."""
    whole = layers[(layers["layer"] == "all") & (layers["kind"] == "all")].set_index("variant")["relative_l2"]
    moved = {name: float(whole[name]) for name in variants_in_order(layers, subjects) if name in whole.index}
    if not moved:
        return ""
    far, near = max(moved, key=lambda name: moved[name]), min(moved, key=lambda name: moved[name])
    first = f"Over the whole model, {subjects[far].in_a_sentence} moved by {_percent(moved[far])} of the base's norm"
    first += f" and {subjects[near].in_a_sentence} by {_percent(moved[near])}." if near != far else "."
    specialists = [name for name in moved if subjects[name].kind == "specialist"]
    return f"{first} {_peaks(layers, specialists, subjects)}".strip()


def correlations_reading(correlations: pd.DataFrame, subjects: Subjects) -> str:
    """How alike the specialists' updates are by layer, with and without the study's threshold, and their signs."""
    return " ".join(_pair_reading(pair, rows) for pair, rows in specialist_pairs(correlations, subjects).items())


def _peaks(layers: pd.DataFrame, specialists: list[str], subjects: Subjects) -> str:
    said = []
    for name in specialists:
        rows = layer_rows(layers[layers["variant"] == name])
        if not rows.empty:
            top = rows.sort_values("relative_l2").iloc[-1]
            said.append(f"{subjects[name].in_a_sentence} in {_layer(top['layer'])} ({_percent(top['relative_l2'])})")
    return f"Relative to the base's layers, {' and '.join(said)} moved most." if said else ""


def _pair_reading(pair: str, rows: pd.DataFrame) -> str:
    known = rows.dropna(subset=["pearson"])
    if known.empty:
        return f"The correlation of {pair} is undefined: at least one of them did not move."
    top = known.sort_values("pearson").iloc[-1]
    raw, cut, opposite = (known[column].median() for column in ("pearson", "pearson_thresholded", "sign_conflict"))
    return (
        f"The updates of {pair} correlate with r = {raw:.2f} in the median layer (most in {_layer(top['layer'])}, "
        f"r = {top['pearson']:.2f}), and with r = {cut:.2f} when only large updates count. In the median layer "
        f"{100 * opposite:.0f} % of the parameters that both changed were moved in opposite directions; "
        f"independent updates would give 50 %."
    )


def _layer(layer: object) -> str:
    name = str(layer)
    if (block := block_of(name)) is not None:
        # A network with an encoder and a decoder has two blocks of each number.
        return f"layer {name if name.startswith(('encoder.', 'decoder.')) else block}"
    kinds = {"embeddings": "the embeddings", "norm": "the final norm", "lm_head": "the output head"}
    return kinds.get(kind_of(name), name)


def _percent(share: float) -> str:
    return f"{significant(100 * share)} %"
