"""What a subject is called in a report: labels of models, methods, metrics and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from src.reporting.format import MISSING, coefficient

METHODS = {
    "linear": "Linear",
    "average": "Average",
    "task_arithmetic": "Task arithmetic",
    "ties": "TIES",
    "dare": "DARE",
    "dare_linear": "DARE",
    "dare_ties": "DARE-TIES",
    "della": "DELLA",
    "della_linear": "DELLA-linear",
    "slerp": "SLERP",
    "nuslerp": "NuSLERP",
    "sce": "SCE",
    "adaptive": "Adaptive",
}
METRICS = {
    "pass@1": "pass@1",
    "pass@1+": "pass@1+",
    "bleu4": "BLEU-4",
    "bleu4_paper": "BLEU-4",
    "bleu4_codexglue": "BLEU-4 (CodeXGLUE)",
    "chrf++": "chrF++",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "meteor_nosyn": "METEOR (no synonyms)",
}


@dataclass(frozen=True)
class Subject:
    """A model of the study.

    Args:
        name: As in `scores.subject`.
        label: As printed.
        kind: `"base"`, `"specialist"`, `"mix"` or `"merge"`.
        task: Of a specialist, else empty.
        method: Of a merge, else empty.
        weight: Of a merge, else None.
    """

    name: str
    label: str
    kind: str
    task: str = ""
    method: str = ""
    weight: object = None

    @property
    def in_a_sentence(self) -> str:
        """For example `"the codegen specialist"` or `"TIES 0.3"`."""
        if self.task:
            return f"the {self.task} specialist"
        return {"base": "the base", "mix": "the data mixture"}.get(self.kind, self.label)


def method_label(method: str) -> str:
    """`"ties"` as `"TIES"`; an unknown method's name with its underscores as spaces."""
    return METHODS.get(method, method.replace("_", " "))


def metric_label(metric: str) -> str:
    """`"bleu4"` as `"BLEU-4"`; an unknown metric's own name."""
    return METRICS.get(metric, metric)


def benchmark_label(benchmark: str) -> str:
    """`"pocket_functions"` as `"pocket functions"`."""
    return benchmark.replace("_", " ")


def subjects_of(scores: pd.DataFrame, specialists: Mapping[str, str]) -> dict[str, Subject]:
    """Every subject of a `scores` table: base, specialists, mixtures, then merges by method and weight."""
    tasks = {subject: task for task, subject in specialists.items()}
    rows = scores.drop_duplicates("subject")
    mixtures = int((rows["kind"] == "mix").sum())
    found = [
        _subject(row["subject"], row["kind"], row["method"], row["weight"], tasks, mixtures)
        for _, row in rows.iterrows()
    ]
    methods = list(dict.fromkeys(subject.method for subject in found))
    specialist_order = list(specialists.values())

    def order(subject: Subject) -> tuple[int, int, int, float]:
        rank = ("base", "specialist", "mix", "merge").index(subject.kind)
        own = specialist_order.index(subject.name) if subject.name in specialist_order else len(specialist_order)
        weight = subject.weight if isinstance(subject.weight, int | float) else 0.0
        return rank, own, methods.index(subject.method), weight

    return {subject.name: subject for subject in sorted(found, key=order)}


def variant_subjects(variants: Iterable[str], specialists: Mapping[str, str]) -> dict[str, Subject]:
    """Subjects of a diagnosis without scores: specialists by task, everything else under its own name."""
    tasks = {subject: task for task, subject in specialists.items()}
    return {
        name: _specialist(name, tasks[name]) if name in tasks else Subject(name, name, "merge", method=name)
        for name in dict.fromkeys(variants)
    }


def _subject(name: str, kind: str, method: object, weight: object, tasks: Mapping[str, str], mixtures: int) -> Subject:
    if kind == "merge":
        at = coefficient(weight)
        label = method_label(str(method)) + ("" if at == MISSING else f" {at}")
        return Subject(name, label, kind, method=str(method), weight=weight)
    if kind == "specialist":
        return _specialist(name, tasks[name]) if name in tasks else Subject(name, name, kind)
    return Subject(name, "Base" if kind == "base" else "Data mixture" if mixtures == 1 else name, kind)


def _specialist(name: str, task: str) -> Subject:
    return Subject(name, f"Specialist: {task}", "specialist", task=task)
