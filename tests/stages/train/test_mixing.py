"""Every mixture option, as typed for `train.py`, changes the rows that a run uses."""

from __future__ import annotations

import pytest

from src.data.budget import step_starts
from src.data.mixture import Mixture, fraction_of, rows_per_epoch
from src.data.table import TokenTable
from src.stages.build import build
from src.stages.job import compose_job, task_of
from src.stages.train.options import TrainingOptions

SIZES = {"codegen": (100, 30), "codesum": (300, 10)}  # rows and tokens of a row: 3,000 tokens each


def drawn(*overrides: str) -> dict[str, tuple[int, int]]:
    """Rows and tokens of each task in a run of `python train.py strategy=mix ...`."""
    cfg = compose_job("train", ["strategy=mix", "strategy.batch_size=8", *overrides]).cfg
    options = TrainingOptions.of(cfg, build(cfg.model))
    tables = {
        task: fraction_of(_table(*SIZES[task]), options.data.fraction, task, options.data.seed)
        for task in (SIZES if cfg.strategy.name == "mix" else [task_of(cfg)])
    }
    mixture = Mixture(tables, cfg.seed, rows_per_epoch(tables, options.fit.mix))
    found = mixture.drawn(int(step_starts(mixture, options.fit.batches.budget)[-1]))
    return {task: (counts["rows"], counts["tokens"]) for task, counts in found.items()}


def _table(rows: int, length: int) -> TokenTable:
    return TokenTable.build([str(row) for row in range(rows)], [[0] * length] * rows, [1] * rows)


EPOCH = ["strategy.epochs=1", "strategy.steps=null"]


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ([], (100, 300)),
        (["data.fraction=0.25"], (25, 75)),
        (["data.fraction=0.5", "strategy.epochs=2"], (100, 300)),
        *(([f"mix.ratio={tenth / 10}"], (40 * tenth, 400 - 40 * tenth)) for tenth in range(1, 10)),
        (["mix.ratios={codegen: 3, codesum: 1}"], (300, 100)),
        (["mix.ratio=0.5", "mix.by=tokens"], (100, 300)),
        (["mix.ratio=0.75", "mix.by=tokens"], (150, 150)),
        (["mix.temperature=2"], (146, 254)),  # roots of 100 and 300
        (["mix.temperature=1e9"], (200, 200)),
        (["mix.ratio=0.5", "mix.cap=1.5"], (150, 150)),
    ],
)
def test_an_epoch(options: list[str], rows: tuple[int, int]) -> None:
    assert tuple(count for count, _ in drawn(*EPOCH, *options).values()) == rows


def test_a_mixture_and_its_specialists_at_equal_cost() -> None:
    """2,000 tokens of each task, in steps of 250, whatever the rows are like."""
    budget = ["strategy.batch_tokens=250", "strategy.epochs=null"]
    mixture = drawn(*budget, "strategy.tokens=4000", "mix.ratio=0.5", "mix.by=tokens")
    for task in SIZES:
        alone = drawn(*budget, "strategy=specialist", f"task={task}", "strategy.tokens=2000")
        assert abs(alone[task][1] - 2000) < SIZES[task][1]
        assert mixture[task][1] == pytest.approx(2000, rel=0.15)  # less than an epoch: its part is a draw
    assert abs(sum(tokens for _, tokens in mixture.values()) - 4000) < 30


def test_the_seed_changes_the_order_and_not_the_shares() -> None:
    assert drawn(*EPOCH, "mix.ratio=0.3") == drawn(*EPOCH, "mix.ratio=0.3", "seed=1")


@pytest.mark.parametrize(
    ("option", "words"),
    [("mix.ratio=1.5", "mix.ratio must be below 1, got 1.5"), ("data.limit=0", "data.limit must be at least 1")],
)
def test_bad_options(option: str, words: str) -> None:
    with pytest.raises(Exception, match=words):
        drawn(*EPOCH, option)
