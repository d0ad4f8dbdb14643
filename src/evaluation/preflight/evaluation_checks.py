"""Differences between evaluations that are not the models': prompts, decoding, problems, cut-off and leaked items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from src.evaluation.generators.samples import CUT_OFF_WARNING, cut_off
from src.evaluation.preflight.differing import by_value, differing, shown
from src.evaluation.preflight.facts import Measurement, Subject
from src.evaluation.preflight.finding import Finding, Severity
from src.evaluation.preflight.model_checks import Trait

IGNORED = ("_target_", "name", "task")
PROMPTS = ("user_prompt", "prefill", "chat", "strip")
PROBLEMS = ("problems", "rows", "limit", "splits")
SAME_DECODING = Trait("serious", "Other decoding changes answers, their length and their end.", "decoding")
SAME_PROMPT = Trait("serious", "The models are asked in different words.", "prompt")
SAME_PROBLEMS = Trait("serious", "The models are scored on different problems.", "problems")
OTHER = Trait("caution", "The same answers may get other scores.", "setting")


def check_evaluations(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Yield what differs between the evaluations of the subjects, and what is wrong with any of them."""
    found = {subject.name: subject.measured for subject in subjects if subject.measured is not None}
    splits = {name: measured.split for name, measured in found.items()}
    effect = "Validation scores of a chosen model are too high, and the problems differ."
    yield from differing("split", "serious", splits, effect, "split=test for all")
    for benchmark in dict.fromkeys(name for measured in found.values() for name in measured.benchmarks):
        yield from _check_benchmark(benchmark, found)
    names = dict.fromkeys(name for measured in found.values() for name in measured.settings)
    for setting in names:
        values = {name: measured.settings.get(setting) for name, measured in found.items()}
        effect = "Rounding or rules differ between the evaluations."
        yield from differing(setting, "caution", values, effect, f"{setting}: evaluate all alike")
    yield from check_ends({name: measured.finish for name, measured in found.items()})
    for name, measured in found.items():
        yield from _check_contamination(name, measured)


def check_training_prompts(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Yield benchmarks that ask in other words than a model was trained on."""
    asked: dict[tuple[str, str, str], list[str]] = {}
    for subject in subjects:
        if subject.model is None or subject.measured is None:
            continue
        trained = {task: prompts for run in subject.model.trainings for task, prompts in run.prompts.items()}
        for benchmark, node in subject.measured.benchmarks.items():
            task, prompt = str(node.get("task")), node.get("user_prompt")
            if prompt is not None and task in trained and prompt not in trained[task]:
                said = " or ".join(f'"{shown(one)}"' for one in trained[task])
                asked.setdefault((task, benchmark, f'{said} in training, "{shown(prompt)}" in'), []).append(
                    subject.name
                )
    for (task, benchmark, said), names in asked.items():
        yield Finding(
            "training prompt",
            "caution",
            f"{' and '.join(names)}: {said} {benchmark}",
            "A model that knows only one form of prompt fails at another, a specialist before a mixture: changes "
            "against the specialists then measure the prompt.",
            f"{task}.user_prompt in conf/tasks or benchmarks.{benchmark}.user_prompt, so that both are equal",
        )


def _check_benchmark(benchmark: str, found: Mapping[str, Measurement]) -> Iterator[Finding]:
    hashes = {name: measured.items.get(benchmark) for name, measured in found.items()}
    yield from differing(
        f"items of {benchmark}", "serious", {name: value and value[:12] for name, value in hashes.items()},
        SAME_PROBLEMS.effect, f"benchmarks.{benchmark}.problems or rows",
    )  # fmt: skip
    flat = {name: dict(_flatten(measured.benchmarks.get(benchmark, {}))) for name, measured in found.items()}
    for setting in dict.fromkeys(key for values in flat.values() for key in values):
        trait = _trait(setting)
        values = {name: settings.get(setting) for name, settings in flat.items() if settings}
        if any(value is not None for value in values.values()):
            said = {name: "not set" if value is None else value for name, value in values.items()}
            key = f"benchmarks.{benchmark}.{setting}"
            yield from differing(f"{benchmark} {setting}", trait.severity, said, trait.effect, key)


def _trait(setting: str) -> Trait:
    root = setting.split(".")[0]
    if root == "decoding":
        return SAME_DECODING
    return SAME_PROMPT if root in PROMPTS else SAME_PROBLEMS if root in PROBLEMS else OTHER


def check_ends(found: Mapping[str, Mapping[str, Mapping[str, int]]], split: str = "") -> Iterator[Finding]:
    """Yield benchmarks of which more than 1% of a model's answers were cut off.

    Args:
        found: Name of a model -> benchmark -> numbers of answers by how they ended.
        split: Said of the benchmark, where it is not the one on which models are compared.
    """
    cut: dict[str, dict[str, str]] = {}
    for name, benchmarks in found.items():
        for benchmark, counts in benchmarks.items():
            number, total = cut_off(counts), sum(counts.values())
            if number > CUT_OFF_WARNING * total:
                cut.setdefault(benchmark, {})[name] = f"{number} of {total}"
    for benchmark, said in cut.items():
        effect = "A cut-off answer counts as wrong although its model may know the right one."
        key = f"benchmarks.{benchmark}.decoding.max_new_tokens, for all models"
        kind = f"cut-off answers of {benchmark}{f' ({split})' if split else ''}"
        yield Finding(kind, "caution", by_value(said), effect, key)


def _check_contamination(name: str, measured: Measurement) -> Iterator[Finding]:
    for benchmark, (dirty, total) in measured.contaminated.items():
        if dirty:
            severity: Severity = "serious" if dirty > 0.05 * total else "caution"
            effect = "A model that has seen an item may answer it from memory; the side that saw it more gains more."
            key = "data.decontaminate=true in training, or compare clean_scores.csv"
            found = f"{dirty} of {total} items of {benchmark} are in the training data ({name})"
            yield Finding("contamination", severity, found, effect, key)


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif key not in IGNORED:
            yield f"{prefix}{key}", value


def unknown(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Yield a finding about subjects of which nothing, or only the answers, is known."""
    nothing = {subject.name: "no record" for subject in subjects if subject.model is None and subject.measured is None}
    answers = {
        subject.name: "no checkpoint" for subject in subjects if subject.model is None and subject.measured is not None
    }
    if said := nothing | answers:
        effect = "Training, base and decoding of these models cannot be compared."
        yield Finding("unknown model", "caution", by_value(said), effect, "evaluate.py checkpoint=DIR")
