"""Loss of a merge by size of the model and number of merged specialists: the merging scaling law (arXiv 2509.24244).

    L(N, k) = floor + B N^-b + A N^-c / (k + d)

N counts parameters in millions, so that B and A are losses at one million.

    python -m src.predictor.scaling_law LOSSES.csv

LOSSES.csv has the columns `parameters`, `k`, `loss` and optionally `method`, one row per merge, as `study.subsets`
writes it; each method gets its own law.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from src.utils.errors import UserError

Array = NDArray[np.float64]
MILLION = 1e6
COLUMNS = ("parameters", "k", "loss")
LOW, HIGH = (0.0, 0.0, 0.0), (4.0, 4.0, 20.0)  # of b, c and d
STARTS = tuple(product((0.2, 1.0), (0.2, 1.0), (0.3, 3.0)))
DRAWS = 200
BEYOND = 2  # largest numbers of specialists that are left out, to see whether the law predicts them


@dataclass(frozen=True)
class ScalingLaw:
    """The law and its constants.

    Attributes:
        floor: Loss of an infinite model that merges infinitely many specialists, at least 0.
        size_factor: B: what size can save, at least 0; 0 if there is only one size.
        size_power: b: how fast it does.
        merge_factor: A: what merging can save; below 0 where more specialists make a merge worse.
        merge_power: c: how fast that shrinks with size; 0 if there is only one size.
        offset: d: specialists that the base is worth.
    """

    floor: float
    size_factor: float
    size_power: float
    merge_factor: float
    merge_power: float
    offset: float

    def __call__(self, parameters: Array, k: Array) -> Array:
        """Predicted losses.

        Args:
            parameters: Number of parameters of each model.
            k: Number of specialists in each merge.
        """
        millions = parameters / MILLION
        merging = self.merge_factor * millions**-self.merge_power / (k + self.offset)
        found: Array = self.floor + self.size_factor * millions**-self.size_power + merging
        return found


@dataclass(frozen=True)
class FittedLaw:
    """A law with what is known of its quality.

    Attributes:
        law: Fitted to the means over all merges of a size and number of specialists.
        intervals: Constant -> 95% interval over the choice of specialists.
        r_squared: Share of the variance of these means that the law explains.
        error: Root of its mean squared error, in nats.
        beyond: The same for the largest numbers of specialists, predicted from the smaller ones; None: too few.
        unchanged: The same if the loss at the last of the smaller ones is taken instead.
    """

    law: ScalingLaw
    intervals: dict[str, tuple[float, float]]
    r_squared: float
    error: float
    beyond: float | None
    unchanged: float | None

    def lines(self, name: str) -> Iterator[str]:
        """The law in words.

        Args:
            name: Of the merge method.
        """
        one = self.law
        sign = "-" if one.merge_factor < 0 else "+"
        yield (
            f"{name}: L = {one.floor:.3f} + {one.size_factor:.3f} N^-{one.size_power:.2f} {sign} "
            f"{abs(one.merge_factor):.3f} N^-{one.merge_power:.2f} / (k + {one.offset:.2f}), N in millions; "
            f"R2 {self.r_squared:.3f}, error {self.error:.4f} nats"
        )
        ends = [f"{key} {low:.3f} to {high:.3f}" for key, (low, high) in self.intervals.items()]
        yield f"  95% intervals: {', '.join(ends)}"
        if self.beyond is not None:
            yield (
                f"  the {BEYOND} largest k, predicted from the others: error {self.beyond:.4f} nats; "
                f"{self.unchanged:.4f} if the loss stayed where it was"
            )


def fit_law(losses: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> FittedLaw:
    """Fit the law to the losses of one method.

    Args:
        losses: With `COLUMNS`; rows with k = 0, the base, are left out.
        draws: Bootstrap draws: the merges of each size and k with replacement. Where there is only one, its loss varies
            as losses do on average around the means of their size and k.
        seed: Of the draws.

    Raises:
        UserError: A column is missing, or there are fewer than three numbers of specialists.
    """
    missing = [name for name in COLUMNS if name not in losses]
    if missing:
        raise UserError(f"the losses lack the columns {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    losses = losses[losses["k"] > 0]
    if losses["k"].nunique() < 3:
        raise UserError(f"a scaling law needs three or more numbers of specialists, got {losses['k'].nunique()}")
    cells = {key: group["loss"].to_numpy(float) for key, group in losses.groupby(["parameters", "k"])}
    sizes, counts = (np.array(column, dtype=float) for column in zip(*cells, strict=True))
    means = np.array([values.mean() for values in cells.values()])
    law = _fitted(sizes, counts, means, STARTS)
    generator = np.random.default_rng(seed)
    drawn = [_fitted(sizes, counts, _drawn_means(list(cells.values()), generator), [_shape(law)]) for _ in range(draws)]
    rest = law(sizes, counts) - means
    beyond, unchanged = _beyond(sizes, counts, means)
    return FittedLaw(
        law=law,
        intervals={
            field.name: tuple(np.quantile([getattr(one, field.name) for one in drawn], [0.025, 0.975]).tolist())
            for field in fields(law)
        },
        r_squared=1 - float(rest @ rest) / max(float(((means - means.mean()) ** 2).sum()), 1e-12),
        error=_root_mean(rest),
        beyond=beyond,
        unchanged=unchanged,
    )


def fit_laws(losses: pd.DataFrame, draws: int = DRAWS) -> dict[str, FittedLaw]:
    """The law of every method in a table; see `fit_law`."""
    if "method" not in losses:
        return {"merges": fit_law(losses, draws)}
    return {str(name): fit_law(group, draws) for name, group in losses[losses["k"] > 0].groupby("method", sort=False)}


def as_json(laws: dict[str, FittedLaw]) -> dict[str, object]:
    """Laws by method as plain values."""
    return {name: asdict(fitted) for name, fitted in laws.items()}


def _drawn_means(cells: Sequence[Array], generator: np.random.Generator) -> Array:
    several = [values for values in cells if len(values) > 1]
    free = sum(len(values) - 1 for values in several)
    spread = np.sqrt(sum(float(((v - v.mean()) ** 2).sum()) for v in several) / free) if free else 0.0
    return np.array(
        [
            generator.choice(values, len(values)).mean() if len(values) > 1 else values[0] + spread * generator.normal()
            for values in cells
        ]
    )


def _shape(law: ScalingLaw) -> tuple[float, float, float]:
    return law.size_power, law.merge_power, law.offset


def _fitted(sizes: Array, counts: Array, losses: Array, starts: Sequence[tuple[float, ...]]) -> ScalingLaw:
    """Least squares: for given b, c and d the rest is linear, and is solved exactly."""
    alone = len(set(sizes.tolist())) == 1

    def columns(shape: Array) -> Array:
        millions, (b, c, d) = sizes / MILLION, shape
        merging = (1.0 if alone else millions**-c) / (counts + d)
        size = np.zeros_like(millions) if alone else millions**-b
        return np.stack([np.ones_like(millions), size, merging, -merging], axis=1)

    def rest(shape: Array) -> Array:
        basis = columns(shape)
        found: Array = basis @ nnls(basis, losses)[0] - losses
        return found

    bounds = (np.array(LOW), np.array(HIGH))
    tried = [least_squares(rest, np.clip(start, *bounds), bounds=bounds) for start in starts]
    shape = min(tried, key=lambda one: float(one.cost)).x
    floor, size, more, less = nnls(columns(shape), losses)[0].tolist()
    b, c, d = shape.tolist()
    return ScalingLaw(floor, size, 0.0 if alone else b, more - less, 0.0 if alone else c, d)


def _beyond(sizes: Array, counts: Array, means: Array) -> tuple[float | None, float | None]:
    """Error of predicting the largest k from the smaller ones, and of taking the loss at the last of these."""
    known = sorted(set(counts.tolist()))[:-BEYOND]
    if len(known) < 3:
        return None, None
    seen = counts <= known[-1]
    law = _fitted(sizes[seen], counts[seen], means[seen], STARTS)
    last = {size: means[(sizes == size) & (counts == known[-1])].mean() for size in set(sizes.tolist())}
    kept = np.array([last[size] for size in sizes[~seen].tolist()]) - means[~seen]
    return _root_mean(law(sizes[~seen], counts[~seen]) - means[~seen]), _root_mean(kept)


def _root_mean(values: Array) -> float:
    return float(np.sqrt((values**2).mean()))


def main() -> None:
    """Fit the laws of a table from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("losses", type=Path)
    parser.add_argument("--draws", type=int, default=DRAWS, help="bootstrap draws")
    options = parser.parse_args()
    try:
        laws = fit_laws(pd.read_csv(options.losses), options.draws)
    except (UserError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    for name, fitted in laws.items():
        print("\n".join(fitted.lines(name)))


if __name__ == "__main__":
    main()
