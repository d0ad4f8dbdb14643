"""The main numbers of a diagnosis as a few lines for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from src.diagnostics.weight_diagnosis import Diagnosis


def diagnosis_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """One line per variant, pair and merge, over the whole model."""
    for row in _whole(diagnosis.layers):
        rank = "" if math.isnan(row["effective_rank"]) else f", effective rank {row['effective_rank']:.1f}"
        yield f"{row['variant']}: moved by {row['relative_l2']:.2%} of the base's norm{rank}"
    bands = {
        (row["first"], row["second"]): f"by chance {row['low']:.3f} to {row['high']:.3f}"
        for row in _whole(diagnosis.chance[diagnosis.chance["metric"] == "pearson"])
    }
    for row in _whole(diagnosis.correlations):
        chance = bands[row["first"], row["second"]]
        yield (
            f"{row['first']} and {row['second']}: Pearson {row['pearson']:.3f} ({chance}), of large updates "
            f"{row['pearson_thresholded']:.3f}, signs opposed in {row['sign_conflict']:.1%}"
        )
    for row in _whole(diagnosis.survival):
        yield f"{row['merge']}: keeps {row['share']:.1%} of the update of the {row['specialist']}"


def _whole(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table[(table["layer"] == "all") & (table["kind"] == "all")]
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
