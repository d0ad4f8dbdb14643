"""A made-up study with the shape and the rough numbers of a pocket study; nothing in it is a result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.scores import Score
from src.evaluation.statistics.verdict import decide
from src.reporting.study_report import Side, StudyModel, StudyReport, models_in_order

TASKS = ("codegen", "codesum")
BENCHMARKS = {
    "codegen": ("pocket_functions", ("pass@1", "pass@1+")),
    "codesum": ("pocket_summaries", ("bleu4_paper", "chrf++", "rouge_l", "meteor")),
}
METHODS = ("linear", "ties", "dare", "della")
CHOSEN = {"linear": 0.4, "ties": 0.3, "dare": 0.4, "della": 0.5}
SPECIALISTS = {"codegen": "pocket-specialist-codegen", "codesum": "pocket-specialist-codesum"}
LAYERS = ("embed_tokens", "layers.0", "layers.1", "layers.2", "layers.3", "norm")
MODULES = ("q", "k", "v", "o", "gate", "up", "down", "norm")
KINDS = {"embed_tokens": ("embeddings",), "norm": ("norm",), "all": ("embeddings", *MODULES)}
ITEMS = 40


def study(metrics: tuple[str, ...] | None = None, zero: str | None = None, **changes: Any) -> StudyReport:
    """The example, with some fields replaced.

    Args:
        metrics: `study.metrics`; None: all.
        zero: A metric in which the task's specialist scores 0 on test data.
        changes: Fields of the report.
    """
    scores = {"validation": relative("validation", metrics), "test": relative("test", metrics, zero)}
    chosen = {method: f"pocket-{method}-w{weight}-s0" for method, weight in CHOSEN.items()}
    values: dict[str, Any] = {
        "title": "Pocket study",
        "verdict": decide(scores["test"], "pocket-mix", chosen, "linear", resamples=1000),
        "setup": (
            "A Qwen2-architecture model of 0.9 M parameters was fine-tuned on generated programs: once on each task, "
            "once on both. 36 merge points were scored on 40 validation problems per task; one point per method was "
            "chosen there and scored once on 40 test problems."
        ),
        "tasks": TASKS,
        "models": models(),
        "headline": {"codegen": "pass@1+", "codesum": "bleu4_paper"},
        "scores": scores,
        "chosen": tuple(chosen.values()),
        "layers": layers(),
        "correlations": correlations(),
        "cost": cost(),
        "commands": commands(),
        "sides": sides(scores, chosen["linear"]),
        "environment": {
            "command": "python study.py study=pocket",
            "git commit": "0123abc",
            "python": "3.12.4",
            "torch": "2.13.0 (CPU)",
            "transformers": "5.23.0",
            "mergekit": "0.1.5",
            "machine": "2 cores, 24 GB, no GPU",
            "seeds": "data 0, training 0, masks 0",
        },
        "caveats": (
            "One training seed: the intervals cover the choice of test problems, not the luck of a training run.",
            "Generated programs are far simpler than real code; the ranking need not carry over.",
            "The coefficient grid is coarse: a finer one may favor merging.",
        ),
    }
    return StudyReport(**(values | changes))


def sides(scores: Mapping[str, RelativeScores], merge: str) -> tuple[Side, ...]:
    found = {split: relative.averages for split, relative in scores.items()}
    return tuple(
        Side(side, words, candidates, 80 * candidates, found["validation"][name].mean, found["test"][name].mean, at)
        for side, name, words, candidates, at in (
            ("mix", "pocket-mix", "the data mixture", 1, "runs/train/pocket-mix"),
            ("merge", merge, "Linear 0.4", 36, "runs/merge/pocket-linear-w0.4"),
        )
    )


def models() -> dict[str, StudyModel]:
    tasks = {name: task for task, name in SPECIALISTS.items()}
    return models_in_order(
        StudyModel(name, kind, task=tasks.get(name), method=method, weight=weight)
        for name, kind, method, weight, _ in subjects()
    )


@cache
def relative(split: str, metrics: tuple[str, ...] | None = None, zero: str | None = None) -> RelativeScores:
    """Validation scores of everything; test scores of everything but the merges that were not chosen.

    On test data DARE and DELLA are scored with three mask seeds.
    """
    runs = {}
    for name, kind, method, weight, skill in subjects():
        if kind == "merge" and split == "test" and CHOSEN[str(method)] != weight:
            continue
        shifts = (0.0, 0.03, -0.012) if split == "test" and method in ("dare", "della") else (0.0,)
        runs[name] = [[item_scores(split, name, (skill[0] + shift, skill[1] - shift), zero) for shift in shifts]]
    return RelativeScores(runs, SPECIALISTS, {place: task for task, (place, _) in BENCHMARKS.items()}, metrics)


def item_scores(split: str, name: str, skill: tuple[float, float], zero: str | None) -> list[Score]:
    """Items that lie in pairs above and below a mean of `skill`, less 4 % per further metric and 0.013 on test data."""
    scores = []
    for task, at in zip(TASKS, skill, strict=True):
        benchmark, names = BENCHMARKS[task]
        for place, metric in enumerate(names):
            mean = round(at * (1 - 0.04 * place) - (0.013 if split == "test" else 0.0), 4)
            mean = 0.0 if metric == zero and name == SPECIALISTS[task] else mean
            reach = min(mean, 1 - mean)
            arms = [sign * reach * (number % 5) / 4 for number in range(ITEMS // 2) for sign in (1, -1)]
            scores += [Score(benchmark, f"{task}/{item}", metric, mean + arm) for item, arm in enumerate(arms)]
    return scores


def subjects() -> list[tuple[str, str, str | None, float | None, tuple[float, float]]]:
    """(subject, kind, method, weight, (codegen skill, codesum skill))"""
    rows: list[tuple[str, str, str | None, float | None, tuple[float, float]]] = [
        ("pocket-base", "base", None, None, (0.21, 0.45)),
        (SPECIALISTS["codegen"], "specialist", None, None, (0.91, 0.31)),
        (SPECIALISTS["codesum"], "specialist", None, None, (0.04, 0.93)),
        ("pocket-mix", "mix", None, None, (0.89, 0.92)),
    ]
    for place, method in enumerate(METHODS):
        for step in range(1, 10):
            weight = step / 10
            rows.append((f"pocket-{method}-w{weight}-s0", "merge", method, weight, skills(place, weight)))
    return rows


def skills(place: int, weight: float) -> tuple[float, float]:
    """A front that bends outwards a little less with every method."""
    bend = 1.9 - 0.25 * place
    up, down = weight ** (1 / bend), (1 - weight) ** (1 / bend)
    return 0.05 + 0.83 * min(1.0, up), 0.33 + 0.58 * min(1.0, down)


def variants() -> list[str]:
    return [*SPECIALISTS.values(), "pocket-mix", *(f"pocket-{m}-w{w}-s0" for m, w in CHOSEN.items())]


def layers() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for place, variant in enumerate(variants()):
        for layer in (*LAYERS, "all"):
            for kind in ("all", *KINDS.get(layer, MODULES)):
                base = 8.0 if kind == "all" else 3.0
                share = (0.16 - 0.013 * place) * (1 + 0.25 * generator.random()) * (0.3 if kind == "norm" else 1)
                rows.append(
                    {
                        "variant": variant,
                        "layer": layer,
                        "kind": kind,
                        "tensors": 9,
                        "elements": 1000,
                        "l2_mean": share * base / 3,
                        "l2": share * base,
                        "base_l2": base,
                        "relative_l2": share,
                    }
                )
    return pd.DataFrame(rows)


def correlations() -> pd.DataFrame:
    generator = np.random.default_rng(1)
    names, rows = variants(), []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            for layer in (*LAYERS, "all"):
                pearson = 0.12 + 0.1 * generator.random()
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "layer": layer,
                        "kind": "all",
                        "pearson": pearson,
                        "pearson_thresholded": pearson + 0.15,
                        "cosine": pearson + 0.002,
                        "sign_conflict": 0.5 - pearson / 3,
                    }
                )
    return pd.DataFrame(rows)


def cost() -> pd.DataFrame:
    training = {"training_tokens": 2_400_000, "training_steps": 840}
    return pd.DataFrame(
        [
            {
                **training,
                "strategy": "mixing",
                "answers": 80,
                "loss_passes": 0,
                "device_seconds": 44.0,
                "disk_bytes": 3_800_000,
            },
            {
                **training,
                "strategy": "merging",
                "answers": 2880,
                "loss_passes": 38,
                "device_seconds": 129.2,
                "disk_bytes": 11_400_000,
            },
        ]
    )


def commands() -> pd.DataFrame:
    rows = [
        ("pocket-base", "python train.py model=pocket strategy=base"),
        (SPECIALISTS["codegen"], "python train.py model=pocket strategy=specialist task=codegen"),
        (SPECIALISTS["codesum"], "python train.py model=pocket strategy=specialist task=codesum"),
        ("pocket-mix", "python train.py model=pocket strategy=mix"),
        *(
            (f"pocket-{m}-w{w}-s0", f"python merge.py model=pocket merge={m} merge.weight={w}")
            for m, w in CHOSEN.items()
        ),
    ]
    return pd.DataFrame(rows, columns=["subject", "command"])
