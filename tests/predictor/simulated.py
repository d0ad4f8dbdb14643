"""Atlases of known truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from src.predictor.atlas import Atlas, read_atlas

NOISE = 2.0


def table(bases: int = 12, cells: int = 8, seed: int = 0, noise: float = NOISE, widths: bool = False) -> pd.DataFrame:
    """Gap = -4 - 5 log(update / 0.1) - 12 forgetting + noise; `pearson` and others have nothing to do with it."""
    rng, rows = np.random.default_rng(seed), []
    for base in range(bases):
        quality = rng.normal(0, 0.3)
        for cell in range(cells):
            update, forgetting = np.exp(rng.normal(np.log(0.1), 0.7)), rng.gamma(2, 0.2)
            gap = -4 - 5 * np.log(update / 0.1) - 12 * (forgetting - 0.4) + rng.normal(0, noise)
            row = {
                "base": f"b{base}", "pair": f"p{cell % 4}", "gap": gap, "parameters": 280_000,
                "relative_update": update, "forgetting": forgetting, "base_nll": np.exp(quality),
                "pearson": rng.uniform(-0.1, 0.25), "pearson_thresholded": rng.uniform(-0.1, 0.6),
                "sign_conflict": rng.uniform(0.3, 0.5), "effective_rank": rng.uniform(5, 40),
            }  # fmt: skip
            if widths:
                row |= {"width": 96 if base < bases - 3 else 192}
            rows.append(row)
    return pd.DataFrame(rows)


def atlas(directory: Path, **keys: object) -> Atlas:
    """The same, read from a file."""
    table(**keys).to_csv(directory / "atlas.csv", index=False)  # type: ignore[arg-type]
    return read_atlas(directory / "atlas.csv")
