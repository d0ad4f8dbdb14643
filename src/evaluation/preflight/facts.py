"""Facts about models and evaluations that the checks compare; what is not known is None or left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Training:
    """One fine-tuning run.

    Attributes:
        owner: Its name in findings.
        settings: Setting -> value, by the names of `training_checks.SETTINGS`.
        steps: Optimizer steps.
        tokens: Training tokens.
        task_tokens: Task -> its training tokens.
        prompts: Task -> the user prompts of its sources.
    """

    owner: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: float | None = None
    tokens: float | None = None
    task_tokens: Mapping[str, float] = field(default_factory=dict)
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """How the settings of a model were chosen.

    Attributes:
        split: Data that the candidates were scored on.
        candidates: Number of candidates.
        key: What changes their number, as typed.
    """

    split: str
    candidates: int
    key: str = "search.budget"


@dataclass(frozen=True)
class Model:
    """One checkpoint, ours or foreign.

    Attributes:
        name: Its name in findings.
        kind: `base`, `specialist`, `mix`, `merge`, or `other` if its files do not tell.
        task: Task of a specialist.
        base: Model that fine-tuning started from: its hash or name. Two of them are compared only if both are hashes
            or both are names.
        files: What its files say, by the names of `model_checks.FILES`.
        trainings: Its fine-tuning runs; those of all specialists of a merge.
        method: Method of a merge.
        parents: Hash of its parents.
        weights: Specialist -> coefficient of a merge: a number, or numbers by layer.
        scale: Factor on the merged update (`merge.lambda`).
        normalize: Whether the coefficients are divided by their sum.
        choice: How a merge or mixture was chosen; None if that is not recorded.
    """

    name: str
    kind: str = "other"
    task: str | None = None
    base: str | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    trainings: tuple[Training, ...] = ()
    method: str | None = None
    parents: str = ""
    weights: Mapping[str, Any] = field(default_factory=dict)
    scale: Any = None
    normalize: bool = False
    choice: Choice | None = None


@dataclass(frozen=True)
class Measurement:
    """One evaluation of a model.

    Attributes:
        split: `validation` or `test`.
        benchmarks: Benchmark -> its settings, as in conf/benchmark.
        items: Benchmark -> hash of its problems.
        settings: Setting -> value, of the generator and the grading.
        finish: Benchmark -> numbers of answers by how they ended.
        contaminated: Benchmark -> (items found in training data, all items).
        means: (benchmark, metric) -> mean.
    """

    split: str
    benchmarks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    items: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    finish: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    contaminated: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    means: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """One side of a comparison.

    Attributes:
        name: Its name in findings.
        model: None if nothing is known of it.
        measured: None if it has not been evaluated, or without a record.
        others_on_test: Other coefficients of the same merge that were scored on test data, as a text -> their run.
    """

    name: str
    model: Model | None = None
    measured: Measurement | None = None
    others_on_test: Mapping[str, str] = field(default_factory=dict)
