"""An atlas: a table with one row per study, its features and the gap between merging and mixing.

Legend: N studies, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.predictor.features import FEATURES, SETTINGS
from src.utils.errors import UserError, first_differences
from src.utils.files import read_json_object

Doubles = NDArray[np.float64]
GROUPS = ("base", "pair", "width")
GAPS = {"gap": "points of the average", "gap_scores": "points of score"}  # columns that can be predicted, with units
FILE = "features.json"  # that `diagnose.py predict=true` writes


@dataclass(frozen=True)
class Atlas:
    """Studies with known outcome.

    Args:
        names: F features that are predicted from.
        values: (N, F), logarithms taken.
        gap: (N,), score of the chosen merge minus that of the mixture in the unit of `GAPS`.
        groups: (N,) labels of base, pair of tasks, and width, by name; width may be absent.
        limits: (N, .) features that only limit the range.
        limit_names: Their names.
    """

    names: Sequence[str]
    values: Doubles
    gap: Doubles
    groups: dict[str, NDArray[np.str_]]
    limits: Doubles
    limit_names: Sequence[str]

    def rows(self, chosen: NDArray[np.bool_]) -> Atlas:
        """Some of the studies."""
        groups = {name: labels[chosen] for name, labels in self.groups.items()}
        return Atlas(self.names, self.values[chosen], self.gap[chosen], groups, self.limits[chosen], self.limit_names)

    def only(self, names: Sequence[str]) -> Atlas:
        """Some of the features."""
        columns = [list(self.names).index(name) for name in names]
        return Atlas(list(names), self.values[:, columns], self.gap, self.groups, self.limits, self.limit_names)


def read_atlas(path: Path, gap: str = "gap") -> Atlas:
    """Read a CSV file with the columns `base`, `pair`, a gap (see `GAPS`), optionally `width`, and the features.

    Instead of the features, a column `diagnosis` may name run directories of `diagnose.py predict=true`, relative to
    the file. Features that no study has are left out.

    Args:
        path: The file.
        gap: Column of the gap.

    Raises:
        UserError: A column is missing, a value is not a number, or there are fewer than three bases.
    """
    table = pd.read_csv(path)
    if "diagnosis" in table.columns:
        found = [read_features(path.parent / str(place)) for place in table.pop("diagnosis")]
        table = pd.concat([table.drop(columns=[*FEATURES], errors="ignore"), pd.DataFrame(found)], axis=1)
    known = [name for name in FEATURES if name in table.columns and table[name].notna().any()]
    missing = [f"column {name}" for name in ("base", "pair", gap) if name not in table.columns]
    if not [name for name in known if not FEATURES[name].limits_only]:
        missing.append(f"a column of features, or diagnosis: {', '.join(FEATURES)}")
    if missing:
        raise UserError(first_differences(f"{path} lacks", missing))
    numbers = table[[gap, *known]].apply(pd.to_numeric, errors="coerce")
    bad = [f"row {row + 2}, {name}" for name in numbers for row in np.flatnonzero(~np.isfinite(numbers[name]))]
    if bad:
        raise UserError(first_differences(f"{path}: expected numbers", bad))
    if table["base"].nunique() < 3:
        raise UserError(f"{path}: expected at least 3 different bases, got {table['base'].nunique()}")
    values = {name: np.array([FEATURES[name].value(raw) for raw in numbers[name]]) for name in known}
    limits = [name for name in known if FEATURES[name].limits_only]
    names = [name for name in known if name not in limits]
    groups = {name: table[name].astype(str).to_numpy(dtype=str) for name in GROUPS if name in table.columns}
    return Atlas(
        names,
        np.stack([values[name] for name in names], axis=1),
        numbers[gap].to_numpy(float),
        groups,
        np.stack([values[name] for name in limits], axis=1) if limits else np.empty((len(table), 0)),
        limits,
    )


def read_features(directory: Path) -> dict[str, float]:
    """Features that `diagnose.py predict=true` left in its run directory, in the order of `FEATURES`.

    Raises:
        UserError: There are none, or they were measured with other settings than those of their definition.
    """
    if not (directory / FILE).is_file():
        raise UserError(f"{directory} has no {FILE}; make it with diagnose.py predict=true")
    content = read_json_object(directory / FILE)
    if differing := other_settings(content["settings"]):
        raise UserError(f"{directory / FILE} is not comparable with other studies: {differing}")
    return {name: float(content["features"][name]) for name in FEATURES if name in content["features"]}


def other_settings(settings: Mapping[str, float]) -> str:
    """What differs from the settings of the features' definition; empty if nothing does."""
    differing = [name for name, value in SETTINGS.items() if settings[name] != value]
    return ", ".join(f"{name}={settings[name]:g} instead of {SETTINGS[name]:g}" for name in differing)
