"""Error rates of a study's verdict on simulated studies whose truth is known.

    python -m benchmarks.verdict_simulation              # all rows, about half an hour on one core
    python -m benchmarks.verdict_simulation --seeds 3    # the rows with three training seeds
    python -m benchmarks.verdict_simulation --quick      # a few rows, a minute
    python -m benchmarks.verdict_simulation --rules      # this rule beside the one before
    python -m benchmarks.verdict_simulation --theory     # quantiles for few training seeds, where all is normal

A simulated study has two tasks of half the weight each. Programs are solved or not: a problem has a difficulty, a model
an ability, and each training seed shifts the ability, which moves the difference by two to seven points. Summaries have
a sparse BLEU-4 (a quarter of the rows above 0, mean 0.05), and with it chrF++. The specialist of code solves a share p
of the problems, as does the mixture; the merge solves `gap` less; in summaries all are equal. Each row counts the 95%
intervals that hold the true difference, and the verdicts. The rule treats both sides alike, so a row in which the merge
is ahead would be the same with "mix" and "merge" exchanged.

The rule before took percentile intervals over problems for the mixture against each of four merges, with Holm: a merge
won if any of them beat the mixture, the mixture if it beat them all.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import expit
from scipy.stats import chi2, norm
from scipy.stats import t as student

from src.evaluation.statistics.bootstrap import Array, bootstrap_p, holm, percentile_interval
from src.evaluation.statistics.confidence import contrast
from src.evaluation.statistics.score_arrays import ScoreArrays
from src.evaluation.statistics.verdict import EQUIVALENT, MARGIN, MERGE, MIX, TIE, outcome_of

SPREAD = 2.5  # of the problems' difficulty, in logits: most problems are solved by all models or by none
SEED_SHIFT = 0.2  # standard deviation of ability over training seeds, in logits
CODE, TEXT, MIXTURE, MERGED = range(4)  # subjects; more merges may follow
SIZES = {"150": ((150,), 150), "164 + 378": ((164, 378), 542), "542": ((542,), 542)}


@dataclass(frozen=True)
class Row:
    """Settings of a simulated study.

    Attributes:
        size: Key of `SIZES`.
        p: Share of the problems that specialist and mixture solve.
        gap: Of the merge below the mixture; negative: the mixture solves less.
        seeds: Training seeds.
        metrics: Of summaries: `bleu`, and `chrf`.
        nonzero: Share of the rows with a BLEU-4 above 0.
        merges: Number of merges, all alike.
    """

    size: str
    p: float
    gap: float
    seeds: int
    metrics: tuple[str, ...] = ("bleu", "chrf")
    nonzero: float = 0.25
    merges: int = 1

    @property
    def shares(self) -> list[float]:
        """Share of the problems that each subject solves."""
        return [self.p, 0.02, self.p + min(self.gap, 0), *[self.p - max(self.gap, 0)] * self.merges]

    @property
    def label(self) -> str:
        """In a table."""
        text = "BLEU, chrF" if len(self.metrics) > 1 else f"BLEU, {self.nonzero:.0%} of rows above 0"
        return f"| {self.size} | {self.p:g} | {100 * self.gap:g} | {self.seeds} | {text} |"


_ABILITY, _DIFFICULTY = np.linspace(-12, 12, 2001), np.linspace(-5, 5, 401)
_SOLVED = expit(_ABILITY[:, None] + SPREAD * _DIFFICULTY) @ (norm.pdf(_DIFFICULTY) / norm.pdf(_DIFFICULTY).sum())


def ability(share: float) -> float:
    """Ability of a model that solves this share of the problems."""
    return float(np.interp(share, _SOLVED, _ABILITY))


def truth(row: Row, generator: np.random.Generator) -> float:
    """The difference of the two averages over all problems and training seeds."""
    if row.seeds == 1:  # this training run: shifts are part of it
        return 0.5 * row.gap / row.p
    shifts = generator.normal(0, SEED_SHIFT, (3, 200_000))
    own, mixture, merge = (
        np.interp(ability(share) + shift, _ABILITY, _SOLVED)
        for share, shift in zip(np.take(row.shares, [CODE, MIXTURE, MERGED]), shifts, strict=True)
    )
    return float(0.5 * ((mixture - merge) / own).mean())


def programs(row: Row, items: int, generator: np.random.Generator, shifts_TS: Array) -> Array:
    """T x N x S x 1: solved or not."""
    ability_TS = np.array([ability(share) for share in row.shares]) + shifts_TS
    difficulty_N = SPREAD * generator.normal(size=items)
    chance_TNS = expit(ability_TS[:, None, :] + difficulty_N[None, :, None])
    return (generator.random(chance_TNS.shape) < chance_TNS).astype(float)[..., None]


def summaries(row: Row, items: int, generator: np.random.Generator) -> Array:
    """T x N x S x M: sparse BLEU-4, and chrF++."""
    shape = (row.seeds, items, len(row.shares))
    shared_N = generator.normal(size=(1, items, 1))
    found = 0.7 * shared_N + np.sqrt(0.51) * generator.normal(size=shape) > norm.ppf(1 - row.nonzero)
    bleu = found * generator.lognormal(-0.18, 0.6, shape) * 0.05 / row.nonzero
    chrf = np.clip(0.32 + 0.12 * shared_N + 0.08 * generator.normal(size=shape), 0, 1)
    return np.stack([{"bleu": bleu, "chrf": chrf}[metric] for metric in row.metrics], axis=3)


def resampling_counts(generator: np.random.Generator, items: int, draws: int) -> Array:
    """R x N: how often each item is drawn, as shares."""
    return generator.multinomial(items, np.full(items, 1 / items), draws) / items


class Simulation:
    """Studies with the settings of one row.

    Args:
        row: The settings.
        draws: Bootstrap draws of a study.
        seed: Of everything.
    """

    def __init__(self, row: Row, draws: int, seed: int = 0) -> None:
        self.row, self.generator = row, np.random.default_rng([seed, *row.label.encode()])
        sizes, rows = SIZES[row.size]
        self.counts = [resampling_counts(self.generator, n, draws) for n in (*sizes, rows)]
        self.sizes, self.rows = sizes, rows
        text = [TEXT] * len(row.metrics)
        self.references = np.array([CODE] * len(sizes) + text)
        self.shares = np.array([0.5 / len(sizes)] * len(sizes) + [0.5 / len(text)] * len(text))
        self.truth = truth(row, self.generator)

    def study(self) -> ScoreArrays:
        """The scores of one study; with one training seed, its shifts are 0."""
        shifts = self.generator.normal(0, SEED_SHIFT * (self.row.seeds > 1), (self.row.seeds, len(self.row.shares)))
        code = [programs(self.row, items, self.generator, shifts) for items in self.sizes]
        text = summaries(self.row, self.rows, self.generator)
        return ScoreArrays((*code, text), self.references, self.shares)

    def drawn(self, scores: ScoreArrays) -> Array:
        """R x T x S x K: as `ScoreArrays.drawn_means`, with the same draws for every study, which is faster."""
        parts = []
        for cube, counts in zip(scores.values, self.counts, strict=True):
            flat = np.moveaxis(cube, 1, 0).reshape(cube.shape[1], -1)
            parts.append((counts @ flat).reshape(len(counts), cube.shape[0], *cube.shape[2:]))
        return np.concatenate(parts, axis=3)

    def studies(self, count: int) -> Iterator[tuple[ScoreArrays, Array]]:
        """Studies with their bootstrap draws; none has a specialist at 0, whose metric would be left out."""
        while count:
            scores = self.study()
            if scores.means()[:, self.references, range(len(self.references))].all():
                count -= 1
                yield scores, self.drawn(scores)

    def with_drawn_seeds(self, scores: ScoreArrays, drawn_RTSK: Array) -> Array:
        """R: mixture minus merge over drawn problems and drawn seeds, the hierarchical bootstrap."""
        with np.errstate(divide="ignore", invalid="ignore"):
            changes_RTSK = scores.changes(drawn_RTSK)
            by_seed_RT = (changes_RTSK[:, :, MIXTURE] - changes_RTSK[:, :, MERGED]) @ scores.shares
        picked = self.generator.integers(0, by_seed_RT.shape[1], by_seed_RT.shape)
        found: Array = np.take_along_axis(by_seed_RT, picked, axis=1).mean(axis=1)
        return found[np.isfinite(found)]


@dataclass(frozen=True)
class Rates:
    """Shares of the studies of a row.

    Attributes:
        coverage: Intervals that hold the truth.
        percentile: The same for the percentile bootstrap over seeds and problems.
        outcomes: Verdicts.
        width: Mean width of the interval.
    """

    coverage: float
    percentile: float
    outcomes: dict[str, float]
    width: float


def rates(row: Row, studies: int, draws: int, margin: float = MARGIN, seed: int = 0) -> Rates:
    """Simulate studies with the settings of a row and count."""
    simulation = Simulation(row, draws, seed)
    held = before = width = 0.0
    outcomes: Counter[str] = Counter()
    for scores, drawn in simulation.studies(studies):
        found = contrast(scores, scores, MIXTURE, MERGED, drawn)
        low, high = found.interval(0.95)
        old_low, old_high = percentile_interval(simulation.with_drawn_seeds(scores, drawn), 0.95)
        held += low <= simulation.truth <= high
        before += old_low <= simulation.truth <= old_high
        width += high - low
        outcomes[outcome_of(found, margin, 0.95)] += 1
    shares = {name: count / studies for name, count in outcomes.items()}
    return Rates(held / studies, before / studies, shares, width / studies)


def rows(quick: bool) -> list[Row]:
    """The rows of the table."""
    if quick:
        return [Row("150", p, gap, seeds) for p, gap in ((0.05, 0.0), (0.5, 0.1), (0.99, 0.05)) for seeds in (1, 3)]
    gaps = {"150": (0.0, 0.05, 0.1), "164 + 378": (0.0, 0.1), "542": (0.0, 0.05)}
    found = [
        Row(size, p, gap, seeds)
        for seeds, size, p in product((1, 3), SIZES, (0.05, 0.2, 0.5, 0.8, 0.99))
        for gap in (gaps[size] if p > 0.05 else (0.0, 0.02))
    ]
    sparse = product((1, 3), ("150", "542"), (0.0, 0.05), (0.25, 0.08))
    return found + [Row(size, 0.5, gap, seeds, ("bleu",), share) for seeds, size, gap, share in sparse]


def print_rates(options: argparse.Namespace) -> None:
    """Print coverage and outcomes as a Markdown table."""
    print("| problems | p | gap | seeds | summaries | coverage | drawn seeds | mix | merge | equivalent | width |")
    print("|:--|--:|--:|--:|:--|--:|--:|--:|--:|--:|--:|")
    for row in (row for row in rows(options.quick) if options.seeds in (None, row.seeds)):
        found = rates(row, options.studies, options.draws)
        shares = " | ".join(f"{found.outcomes.get(name, 0):.3f}" for name in (MIX, MERGE, EQUIVALENT))
        print(
            f"{row.label} {found.coverage:.3f} | {found.percentile:.3f} | {shares} | {100 * found.width:.1f} |",
            flush=True,
        )


def old_rule(averages_RS: Array, values: Sequence[float]) -> str:
    """The rule before: column 0 is the mixture, the others are merges."""
    gaps = {str(k): averages_RS[:, 0] - averages_RS[:, k] for k in range(1, averages_RS.shape[1])}
    corrected = holm({k: bootstrap_p(gap) for k, gap in gaps.items()})
    won = []
    for k, gap in gaps.items():
        low, high = percentile_interval(gap, 0.95)
        clear = not low <= 0 <= high and corrected[k] <= 0.05
        won.append((MIX if values[0] > values[int(k)] else MERGE) if clear else TIE)
    return MERGE if MERGE in won else MIX if all(one == MIX for one in won) else TIE


def rules(gap: float, studies: int, draws: int) -> dict[str, Counter[str]]:
    """Outcomes of both rules on the same studies of 150 problems with four merges; the first is the champion."""
    simulation = Simulation(Row("150", 0.5, gap, 1, merges=4), draws)
    found: dict[str, Counter[str]] = {"before": Counter(), "now": Counter()}
    for scores, drawn in simulation.studies(studies):
        with np.errstate(divide="ignore", invalid="ignore"):
            averages_RS = scores.averages(drawn)[:, MIXTURE:]
        found["before"][old_rule(averages_RS, scores.averages(scores.means())[MIXTURE:].tolist())] += 1
        found["now"][outcome_of(contrast(scores, scores, MIXTURE, MERGED, drawn), MARGIN, 0.95)] += 1
    return found


def print_rules(options: argparse.Namespace) -> None:
    """Print the outcomes of both rules as a Markdown table."""
    print("| gap in pass@1, mixture minus merges | before: mix | merge | now: mix | merge |")
    print("|--:|--:|--:|--:|--:|")
    for gap in (-0.2, -0.1, 0.0, 0.1, 0.2):
        found = rules(gap, options.studies, options.draws)
        shares = [found[rule][name] / options.studies for rule in found for name in (MIX, MERGE)]
        print(f"| {100 * gap:+g} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)


def cochran_cox(share: Array, freedom: int) -> Array:
    """The 97.5% quantile of the verdict: the mean of the normal one and Student's, by their shares of the variance."""
    found: Array = (1 - share) * norm.ppf(0.975) + share * student.ppf(0.975, freedom)
    return found


def satterthwaite(share: Array, freedom: int) -> Array:
    """Student's 97.5% quantile with the degrees of freedom of the summed variance."""
    found: Array = student.ppf(0.975, freedom / np.maximum(share, 1e-9) ** 2)
    return found


def mover(share: Array, freedom: int) -> Array:
    """The root of the summed squares of both 97.5% arms."""
    found: Array = np.sqrt((1 - share) * norm.ppf(0.975) ** 2 + share * student.ppf(0.975, freedom) ** 2)
    return found


def coverage_in_theory(quantile: Callable[[Array, int], Array], seeds: int, share: float) -> float:
    """Coverage where differences are normal and the variance over problems is known.

    Args:
        quantile: Of the estimated share and the degrees of freedom of training seeds.
        seeds: Training seeds.
        share: Of the variance of the mean difference that seeds cause.
    """
    freedom, levels = seeds - 1, (np.arange(4000) + 0.5) / 4000
    between = share * chi2.ppf(levels, freedom) / freedom
    whole = 1 - share + between
    arms = quantile(between / whole, freedom) * np.sqrt(whole)
    return float((2 * norm.cdf(arms) - 1).mean())


def print_theory() -> None:
    """Print the lowest and highest coverage over all shares as a Markdown table."""
    print("| training seeds | Cochran and Cox | Satterthwaite | MOVER |")
    print("|--:|--:|--:|--:|")
    for seeds in (2, 3, 5, 10):
        found = [
            [coverage_in_theory(one, seeds, share) for share in np.linspace(0, 1, 41)]
            for one in (cochran_cox, satterthwaite, mover)
        ]
        print(f"| {seeds} | {' | '.join(f'{min(one):.3f}-{max(one):.3f}' for one in found)} |")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few rows")
    parser.add_argument("--rules", action="store_true", help="this rule beside the one before")
    parser.add_argument("--theory", action="store_true", help="quantiles for few training seeds")
    parser.add_argument("--seeds", type=int, help="only rows with so many training seeds (1 or 3)")
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies per row")
    parser.add_argument("--draws", type=int, default=600, help="bootstrap draws per study")
    options = parser.parse_args()
    if options.theory:
        print_theory()
    else:
        (print_rules if options.rules else print_rates)(options)


if __name__ == "__main__":
    main()
