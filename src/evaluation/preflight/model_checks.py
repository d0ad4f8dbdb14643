"""Differences between models that are neither data nor merging: their start, their training, their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from src.evaluation.preflight.differing import differing, unequal
from src.evaluation.preflight.facts import Model, Training
from src.evaluation.preflight.finding import Finding, Severity

SLACK = 1.1  # amounts within a tenth are equal: rows have different lengths
TUNED = "The side whose setting fits better wins for that reason, not because of mixing or merging."


@dataclass(frozen=True)
class Trait:
    """A property that should be equal: its severity, what a difference can do, and the key that changes it."""

    severity: Severity
    effect: str
    key: str


SETTINGS = {
    "learning rate": Trait("caution", TUNED, "strategy.learning_rate"),
    "schedule": Trait("caution", TUNED, "the schedule of the training run"),
    "warmup": Trait("caution", TUNED, "optimizer.warmup"),
    "weight decay": Trait("caution", TUNED, "optimizer.weight_decay"),
    "optimizer": Trait("caution", TUNED, "optimizer=NAME or optimizer.KEY"),
    "batch size": Trait("caution", TUNED, "strategy.batch_size or strategy.batch_tokens"),
    "rows per device": Trait("caution", TUNED, "the batch size of the training run"),
    "accumulation": Trait("caution", TUNED, "the batch size of the training run"),
    "epochs": Trait("caution", "One side has seen its rows more often.", "strategy.epochs"),
    "sequence length": Trait("caution", "Rows that are cut on one side only teach it less.", "strategy.max_length"),
    "packing": Trait("note", "Packed rows change the number of rows per step.", "strategy.packing"),
    "adapter": Trait("caution", "Adapters and full fine-tuning reach different points.", "model.adapter"),
    "LoRA rank": Trait("caution", "A higher rank can learn more.", "model.lora.rank"),
    "rows": Trait("caution", "One side has more data.", "data.fraction or data.limit"),
    "decontamination": Trait("caution", "Benchmark items may be in one side's data only.", "data.decontaminate"),
    "training template": Trait("serious", "A model answers best in the form that it was trained on.", "the template"),
    "training seed": Trait("note", "Seeds differ by chance; several per side show by how much.", "seed"),
}
FILES = {
    "network": Trait("serious", "Different networks: the size decides, not mixing or merging.", "base=DIR"),
    "tokenizer": Trait("caution", "Other tokens change prompts and answers of one side.", "merge.tokenizer"),
    "chat template": Trait("serious", "The same prompt reaches the models in different words.", "merge.template"),
    "end tokens": Trait("serious", "The models stop at different tokens.", "merge.generation_config"),
    "dtype": Trait("caution", "Rounding differs between the models.", "merge.dtype or model.dtype"),
}
BASE = Trait("serious", "They start from different models: the better start wins.", "base=DIR or model=NAME")


def check_models(models: Sequence[Model]) -> Iterator[Finding]:
    """Yield what differs between the files and starts of models, and between their training runs."""
    for name, trait in FILES.items():
        values = {model.name: model.files.get(name) for model in models}
        yield from differing(name, trait.severity, values, trait.effect, trait.key)
    hashes = {model.name: model.base for model in models if (model.base or "").startswith("sha256:")}
    names = {model.name: model.base for model in models if not (model.base or "sha256:").startswith("sha256:")}
    for values in (hashes, names):  # a hash says nothing about a name
        yield from differing("base", BASE.severity, values, BASE.effect, BASE.key)
    runs = {training.owner: training for model in models for training in model.trainings}
    for name, trait in SETTINGS.items():
        values = {owner: training.settings.get(name) for owner, training in runs.items()}
        yield from differing(name, trait.severity, values, trait.effect, trait.key)
    yield from _check_amounts({model.name: model.trainings for model in models if model.trainings})


def _check_amounts(models: Mapping[str, Sequence[Training]]) -> Iterator[Finding]:
    """Compare training tokens task by task; where tasks are not known, tokens and steps of whole sides."""
    effect, key = "One side was trained longer.", "strategy.epochs or strategy.steps"
    tasks = dict.fromkeys(task for runs in models.values() for run in runs for task in run.task_tokens)
    for task in tasks:
        tokens = {name: _sum(run.task_tokens.get(task) for run in runs) for name, runs in models.items()}
        yield from unequal(f"training tokens of {task}", "caution", tokens, effect, key, SLACK)
    groups: dict[frozenset[str], dict[str, Sequence[Training]]] = {}
    for name, runs in models.items():
        groups.setdefault(frozenset(task for run in runs for task in run.task_tokens), {})[name] = runs
    for seen, sides in groups.items():  # a specialist has fewer steps than a mixture of two tasks, rightly
        steps = {name: _all(run.steps for run in runs) for name, runs in sides.items()}
        yield from unequal("training steps", "caution", steps, effect, key, SLACK)
        if not seen:
            tokens = {name: _all(run.tokens for run in runs) for name, runs in sides.items()}
            yield from unequal("training tokens", "caution", tokens, effect, key, SLACK)


def _sum(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _all(values: Iterator[float | None]) -> float | None:
    """The sum, if every value is known."""
    found = list(values)
    return None if None in found or not found else sum(value for value in found if value is not None)
