"""A made-up study with the shape and the rough numbers of a pocket study; nothing in it is a result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from src.reporting.study_report import StudyReport

TASKS = ("codegen", "codesum")
BENCHMARKS = {
    "codegen": ("pocket_functions", ("pass@1", "pass@1+")),
    "codesum": ("pocket_summaries", ("bleu4", "chrf++", "rouge_l", "meteor")),
}
METHODS = ("linear", "ties", "dare", "della")
CHOSEN = {"linear": 0.4, "ties": 0.3, "dare": 0.4, "della": 0.5}
SPECIALISTS = {"codegen": "pocket-specialist-codegen", "codesum": "pocket-specialist-codesum"}
LAYERS = ("embed_tokens", "layers.0", "layers.1", "layers.2", "layers.3", "norm")
MODULES = ("q", "k", "v", "o", "gate", "up", "down", "norm")
KINDS = {"embed_tokens": ("embeddings",), "norm": ("norm",), "all": ("embeddings", *MODULES)}


def study(**changes: Any) -> StudyReport:
    """The example, with some fields replaced."""
    values: dict[str, Any] = {
        "title": "Pocket study",
        "verdict": (
            "On the pocket model data mixing wins: on test data its mean score lies 6.1 to 11.9 points above the best "
            "merge (linear, weight 0.4), and no method's interval includes zero except that of TIES, which ties. "
            "Mixing costs as many training tokens as both specialists together."
        ),
        "setup": (
            "A Qwen2-architecture model of 0.9 M parameters was fine-tuned on generated programs: once on each task, "
            "once on both. 36 merge points were scored on 150 validation problems a task; one point a method was "
            "chosen there and scored once on 150 test problems."
        ),
        "tasks": TASKS,
        "specialists": SPECIALISTS,
        "headline": {"codegen": "pass@1+", "codesum": "bleu4"},
        "scores": pd.DataFrame([row for subject in subjects() for row in score_rows(*subject)]),
        "chosen": pd.DataFrame(
            [{"subject": f"pocket-{m}-w{w}-s0", "method": m, "weight": w, "validation": 0.7} for m, w in CHOSEN.items()]
        ),
        "comparisons": comparisons(),
        "layers": layers(),
        "correlations": correlations(),
        "cost": cost(),
        "commands": commands(),
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
            "The weight grid is coarse: a finer one may favor merging.",
        ),
    }
    return StudyReport(**(values | changes))


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


def score_rows(
    subject: str, kind: str, method: str | None, weight: float | None, skill: tuple[float, float]
) -> list[dict[str, Any]]:
    """Validation rows of everything; test rows of everything but the merges that were not chosen."""
    splits = ("validation", "test") if kind != "merge" or CHOSEN[str(method)] == weight else ("validation",)
    rows = []
    for split in splits:
        for task, at in zip(TASKS, skill, strict=True):
            benchmark, metrics = BENCHMARKS[task]
            for place, metric in enumerate(metrics):
                value = round(at * (1 - 0.04 * place) - (0.013 if split == "test" else 0.0), 4)
                half = 1.96 * math.sqrt(value * (1 - value) / 150) * (1.0 if task == "codegen" else 0.6)
                rows.append(
                    {
                        "subject": subject,
                        "kind": kind,
                        "task": task,
                        "method": method,
                        "weight": weight,
                        "split": split,
                        "benchmark": benchmark,
                        "metric": metric,
                        "value": value,
                        "n": 150,
                        "low": max(0.0, value - half),
                        "high": min(1.0, value + half),
                        "seed": 0,
                    }
                )
    return rows


def comparisons() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": "linear",
                "difference": 0.09,
                "low": 0.061,
                "high": 0.119,
                "p": 0.0002,
                "verdict": "mixing wins",
            },
            {"method": "ties", "difference": 0.018, "low": -0.012, "high": 0.049, "p": 0.21, "verdict": "tie"},
            {"method": "dare", "difference": 0.104, "low": 0.074, "high": 0.135, "p": 0.0002, "verdict": "mixing wins"},
            {
                "method": "della",
                "difference": -0.04,
                "low": -0.07,
                "high": -0.01,
                "p": 0.011,
                "verdict": "merging wins",
            },
        ]
    )


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
    return pd.DataFrame(
        [
            {"strategy": "specialists", "training_tokens": 2_400_000, "seconds": 38.2, "disk_bytes": 7_600_000},
            {"strategy": "mixture", "training_tokens": 2_400_000, "seconds": 41.0, "disk_bytes": 3_800_000},
            {"strategy": "merges (grid of 36)", "training_tokens": 0, "seconds": 95.0, "disk_bytes": 15_200_000},
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
