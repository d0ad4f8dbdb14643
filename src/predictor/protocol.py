"""Protocol of the predictor: predictions for bases, pairs and widths that were left out, against simple rules.

Legend: N studies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from src.predictor.atlas import Atlas, Doubles
from src.predictor.predictor import LEVEL, Predictor

PAPER_RULE = 0.3  # merge where the correlation is lower (arXiv 2601.21115)
DRAWS = 1000
Chosen = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """Predictions (N,) of one rule; NaN where it gives none.

    Args:
        gap: Expected gap in points.
        mix_wins: Probability that mixing wins.
        mixes: Whether the rule mixes.
        covered: Whether the interval holds the true gap.
    """

    gap: Doubles
    mix_wins: Doubles
    mixes: Chosen
    covered: Doubles


Rule = Callable[[Atlas, Atlas, float], Answers]
"""Answers for the second atlas by a rule that was fitted on the first, with a margin in points."""


def rules(names: Sequence[str]) -> dict[str, Rule]:
    """The predictor and what it is compared with, by name.

    Args:
        names: Features of the atlas.
    """
    found: dict[str, Rule] = {"predictor": _predictor, "always mix": _always_mix, "mean": _mean}
    for name, label in (("pearson", "paper's rule, raw"), ("pearson_thresholded", "paper's rule, thresholded")):
        if name in names:
            found[label] = _paper_rule(name)
    return found | {f"{name} alone": _alone(name) for name in names}


def splits(atlas: Atlas) -> dict[str, list[tuple[Chosen, Chosen]]]:
    """Training and test studies of every fold by the name of the split, unless the atlas has too few bases for it."""
    found = {f"leave {name} out": list(_left_out(atlas.groups[name])) for name in ("base", "pair")}
    if "width" in atlas.groups:
        widths = atlas.groups["width"]
        narrow = min(set(widths.tolist()), key=float)
        found[f"width {narrow} to wider"] = [(widths == narrow, widths != narrow)]
    return {
        name: folds
        for name, folds in found.items()
        if all(test.any() and len(set(atlas.groups["base"][train].tolist())) >= 3 for train, test in folds)
    }


def measure(atlas: Atlas, margin: float, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """One row per split, rule and metric: its value, and a 95 % interval from a bootstrap over bases.

    The predictor chooses its features anew in every fold. Metrics: `rmse`, `pearson` and `spearman` with the gap,
    `accuracy`, `brier` and `auc` of "mixing wins" (a gap below minus the margin), `regret` (points lost by the side
    that the rule chooses) and `coverage` of the interval (nominal 0.9).
    """
    rows = []
    for split, folds in splits(atlas).items():
        tested = np.any([test for _, test in folds], axis=0)
        part = atlas.rows(tested)
        resampled = list(_draws(part.groups["base"], draws, seed))
        for name, rule in rules(atlas.names).items():
            answers = _over_folds(atlas, folds, rule, margin, tested)
            values = [_metrics(answers, part.gap, margin, chosen) for chosen in resampled]
            whole = _metrics(answers, part.gap, margin, np.arange(len(part.gap)))
            for metric, value in whole.items():
                spread = np.array([one[metric] for one in values])
                low, high = np.nanpercentile(spread, [2.5, 97.5]) if np.isfinite(spread).any() else (np.nan, np.nan)
                rows.append([split, name, metric, value, low, high, len(part.gap)])
    return pd.DataFrame(rows, columns=["split", "rule", "metric", "value", "low", "high", "studies"])


def _over_folds(
    atlas: Atlas, folds: Sequence[tuple[Chosen, Chosen]], rule: Rule, margin: float, tested: Chosen
) -> Answers:
    gap, wins, covered = (np.full(len(atlas.gap), np.nan) for _ in range(3))
    mixes = np.zeros(len(atlas.gap), bool)
    for train, test in folds:
        found = rule(atlas.rows(train), atlas.rows(test), margin)
        gap[test], wins[test], covered[test], mixes[test] = found.gap, found.mix_wins, found.covered, found.mixes
    return Answers(gap[tested], wins[tested], mixes[tested], covered[tested])


def _metrics(answers: Answers, truth: Doubles, margin: float, chosen: NDArray[np.int64]) -> dict[str, float]:
    gap, wins, mixes, true = answers.gap[chosen], answers.mix_wins[chosen], answers.mixes[chosen], truth[chosen]
    won = true < -margin
    return {
        "rmse": float(np.sqrt(np.mean((gap - true) ** 2))),
        "pearson": _correlation(gap, true),
        "spearman": _correlation(rankdata(gap), rankdata(true)) if np.isfinite(gap).all() else float("nan"),
        "accuracy": float(np.mean((wins > 0.5) == won)),
        "brier": float(np.mean((wins - won) ** 2)),
        "auc": _auc(wins, won),
        "regret": float(np.mean(np.where(mixes, np.maximum(true, 0), np.maximum(-true, 0)))),
        "coverage": float(np.mean(answers.covered[chosen])),
    }


def _correlation(one: Doubles, other: Doubles) -> float:
    if len(one) < 3 or not np.isfinite(one).all() or one.std() < 1e-12 or other.std() < 1e-12:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _auc(score: Doubles, won: Chosen) -> float:
    if won.all() or not won.any():
        return float("nan")
    ranks = rankdata(score)[won].sum()
    return float((ranks - won.sum() * (won.sum() + 1) / 2) / (won.sum() * (~won).sum()))


def _left_out(groups: NDArray[np.str_]) -> Iterator[tuple[Chosen, Chosen]]:
    for one in sorted(set(groups.tolist())):
        yield groups != one, groups == one


def _draws(bases: NDArray[np.str_], draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    generator, labels = np.random.default_rng(seed), sorted(set(bases.tolist()))
    places = {label: np.flatnonzero(bases == label) for label in labels}
    for _ in range(draws):
        yield np.concatenate([places[labels[one]] for one in generator.integers(len(labels), size=len(labels))])


def _predictor(train: Atlas, test: Atlas, margin: float) -> Answers:
    gap, low, high, wins = Predictor.fitted(train, margin).at(test.values, LEVEL)
    return Answers(gap, wins, gap < 0, ((low <= test.gap) & (test.gap <= high)).astype(float))


def _alone(name: str) -> Rule:
    return lambda train, test, margin: _predictor(train.only([name]), test.only([name]), margin)


def _always_mix(train: Atlas, test: Atlas, margin: float) -> Answers:
    nothing = np.full(len(test.gap), np.nan)
    return Answers(nothing, np.ones(len(test.gap)), np.ones(len(test.gap), bool), nothing)


def _mean(train: Atlas, test: Atlas, margin: float) -> Answers:
    gap = np.full(len(test.gap), train.gap.mean())
    wins = np.full(len(test.gap), (train.gap < -margin).mean())
    return Answers(gap, wins, gap < 0, np.full(len(test.gap), np.nan))


def _paper_rule(name: str) -> Rule:
    def rule(train: Atlas, test: Atlas, margin: float) -> Answers:
        mixes = test.only([name]).values[:, 0] >= PAPER_RULE
        nothing = np.full(len(test.gap), np.nan)
        return Answers(nothing, mixes.astype(float), mixes, nothing)

    return rule
