"""Ways in which models were chosen: on test data, with unequal budgets, or with coefficients out of the usual range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from src.evaluation.preflight.differing import shown, unequal
from src.evaluation.preflight.facts import Model, Subject
from src.evaluation.preflight.finding import Finding
from src.merging.schedule import numbers_in

LARGEST = 2.0  # sums of task vectors are scaled up to about 2 on purpose (arXiv 2212.04089, 2310.02575)


def check_choice(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Yield models that were chosen on test data, and sides that tried unequal numbers of candidates."""
    for subject in subjects:
        choice = None if subject.model is None else subject.model.choice
        if choice is not None and choice.split == "test":
            yield _on_test(f"{subject.name}: the best of {choice.candidates} candidates on test data")
    yield from _check_points(subjects)
    yield from _check_budgets(subjects)


def coefficient_findings(
    owner: str, method: str, weights: Mapping[str, Any], scale: Any = None, normalize: bool = False
) -> Iterator[Finding]:
    """Yield coefficients that are probably a slip: outside 0-1 where they sum to 1, or far outside.

    Sums of task vectors with factors up to `LARGEST` and subtracted ones are noted, not warned about.

    Args:
        owner: Name of the merge.
        method: Its method.
        weights: Specialist -> coefficient: a number, or numbers by layer.
        scale: `merge.lambda`, if the method has it.
        normalize: Whether the coefficients are divided by their sum.
    """
    numbers = {name: numbers_in(value) for name, value in weights.items()}
    total = sum(sum(value) / len(value) for value in numbers.values())
    if normalize and total:
        numbers = {name: [number / total for number in value] for name, value in numbers.items()}
    outside = {name: value for name, value in numbers.items() if min(value) < 0 or max(value) > 1}
    if outside:
        largest = max(abs(number) for value in numbers.values() for number in value)
        shares = normalize or abs(total - 1) < 1e-6
        slip = largest > LARGEST or shares
        effect = "The merge lies outside of its parents: " + (
            "merge.weight is the share of the first task, the others get what is left, here less than nothing."
            if shares and any(min(value) < 0 for value in numbers.values())
            else "updates are enlarged or subtracted, which a comparison of methods should do on purpose only."
        )
        said = ", ".join(f"{name} {shown(weights[name])}" for name in weights)
        key = "merge.weight=0.5, or merge.weights={TASK: ...} for other sums than 1"
        yield Finding(
            "coefficients outside 0-1", "caution" if slip else "note", f"{owner} ({method}): {said}", effect, key
        )
    factors = [] if scale is None else numbers_in(scale)
    if factors and (min(factors) <= 0 or max(factors) > LARGEST):
        effect = "The whole update is enlarged, removed or reversed."
        yield Finding("lambda", "caution", f"{owner} ({method}): {shown(scale)}", effect, "merge.lambda=1")


def check_coefficients(models: Sequence[Model]) -> Iterator[Finding]:
    """Yield the findings about the coefficients of all merges."""
    for model in models:
        if model.method is not None and model.weights:
            yield from coefficient_findings(model.name, model.method, model.weights, model.scale, model.normalize)


def _check_points(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Yield methods of which several coefficients for the same parents were scored on test data."""
    points: dict[tuple[str, str], dict[str, str]] = {}  # method and parents -> coefficients -> name
    for subject in subjects:
        model, measured = subject.model, subject.measured
        if model is not None and model.method is not None and measured is not None and measured.split == "test":
            found = points.setdefault((model.method, model.parents), {})
            found.setdefault(shown(model.weights), subject.name)
            for coefficients, name in subject.others_on_test.items():
                found.setdefault(coefficients, name)
    for (method, _), found in points.items():
        if len(found) > 1:
            names = list(found.values())
            yield _on_test(f"{len(names)} merges by {method} were scored on test data: {', '.join(names[:4])}")


def _on_test(found: str) -> Finding:
    effect = "The best of many is too good: its test score includes the luck of the choice."
    return Finding("chosen on test data", "serious", found, effect, "choose with split=validation, score once on test")


def _check_budgets(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Compare how many candidates each side tried; a model without a record of it is one candidate.

    It is a note, since the champions are compared on data that chose neither.
    """
    models = [one.model for one in subjects if one.model is not None and one.model.kind in ("mix", "merge")]
    sides = {model.name: float(model.choice.candidates if model.choice else 1) for model in models}
    keys = dict.fromkeys(model.choice.key for model in models if model.choice)
    effect = "The side with more candidates finds better fitting ones, and on the data that chose them luckier ones."
    yield from unequal("candidates tried", "note", sides, effect, " or ".join(keys), ratio=1)
