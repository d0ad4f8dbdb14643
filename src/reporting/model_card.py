"""Model card of a merge: a README.md with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from src.reporting.format import score

CARD = "README.md"
# From few conditions to many; of several, the last one holds for a work that contains all of them.
LICENSES = (
    *("cc0-1.0", "unlicense", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0", "mpl-2.0", "lgpl-3.0", "gpl-3.0"),
    *("agpl-3.0", "cc-by-nc-4.0"),
)
PARENT_COLUMNS = ("role", "model", "revision", "license", "coefficient", "sha256 of the weights")
LOAD = {
    "transformers": """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{place}", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("{place}")""",
    "peft": """from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("{place}")""",
}


@dataclass(frozen=True)
class CardParent:
    """A parent of a merge.

    Args:
        role: `base`, or the name of the specialist.
        name: Name on the Hub, or of the directory.
        revision: Commit on the Hub, or None for a directory.
        license: Identifier in its own card, or None if it has none.
        coefficient: Of a specialist; empty for the base.
        sha256: Hash of its weights.
    """

    role: str
    name: str
    revision: str | None
    license: str | None
    coefficient: str
    sha256: str


@dataclass(frozen=True)
class MergeFacts:
    """Everything that the card of a merge says.

    Args:
        title: Name of the merge.
        place: What `from_pretrained` takes.
        library: `transformers`, or `peft` for an adapter.
        method: Name of the method.
        description: Its one-sentence description.
        arxiv: Identifier of its paper, or None.
        engine: `own` or `mergekit`.
        parents: The base first.
        keys: The method's keys and values.
        command: Repeats the merge.
        scores: Rows of `scores.csv`, as far as the merge has been evaluated.
        study: What a study has found of it: `title` and `verdict`, or nothing.
    """

    title: str
    place: str
    library: str
    method: str
    description: str
    arxiv: str | None
    engine: str
    parents: tuple[CardParent, ...]
    keys: Mapping[str, Any]
    command: str
    scores: tuple[Mapping[str, Any], ...] = ()
    study: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedFacts:
    """Everything that the card of a fine-tuned model says.

    Args:
        title: Name of the model, and what `from_pretrained` takes.
        strategy: `mix` or `specialist`.
        base: The model that it was fine-tuned from, or None if it is not known.
        rows: Training rows by task.
        settings: Settings of the training.
        command: Repeats the training.
        scores: Rows of `scores.csv`, as far as the model has been evaluated.
        study: What a study has found of it: `title` and `verdict`, or nothing.
    """

    title: str
    strategy: str
    base: CardParent | None
    rows: Mapping[str, int]
    settings: Mapping[str, Any]
    command: str
    scores: tuple[Mapping[str, Any], ...] = ()
    study: Mapping[str, str] = field(default_factory=dict)


def read_license(directory: Path) -> str | None:
    """License in the model card of a directory; None if it has no card, or none in it."""
    path = directory / CARD
    if not path.is_file():
        return None
    try:
        found = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except Exception:  # a README that is no model card; its front matter may be any text
        return None
    license_ = found.get("license_name") or found.get("license")
    return str(license_) if license_ else None


def joint_license(licenses: Sequence[str | None]) -> str | None:
    """The license with the most conditions of those given; None where one is unknown or they cannot be ordered.

    Example:
        >>> joint_license(["mit", "apache-2.0"]), joint_license(["apache-2.0", None])
        ('apache-2.0', None)
    """
    known = set(licenses)
    if len(known) == 1:
        return licenses[0]
    if not known <= set(LICENSES):
        return None
    return max((one for one in licenses if one is not None), key=LICENSES.index)


def merge_card(facts: MergeFacts) -> str:
    """The text of a merge's `README.md`."""
    license_ = joint_license([parent.license for parent in facts.parents])
    known = license_ in LICENSES
    data = ModelCardData(
        base_model=list(dict.fromkeys(parent.name for parent in facts.parents if parent.revision)) or None,
        license=None if license_ is None else license_ if known else "other",
        license_name=None if license_ is None or known else license_,
        library_name=facts.library,
        tags=["merge", "mixmerge", *(["mergekit"] if facts.engine == "mergekit" else []), facts.method],
        model_name=facts.title if facts.scores else None,
        eval_results=[_result(row) for row in facts.scores] or None,
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_body(facts, license_)}"))


def _body(facts: MergeFacts, license_: str | None) -> str:
    paper = f" ([arXiv {facts.arxiv}](https://arxiv.org/abs/{facts.arxiv}))" if facts.arxiv else ""
    sections = [
        f"# {facts.title}",
        *_verdict(facts.study),
        f"A merge of {len(facts.parents) - 1} fine-tuned models of one base, without further training, by "
        f"`{facts.method}`{paper}: {facts.description}.",
        "## Parents",
        _table(PARENT_COLUMNS, map(_row, facts.parents)),
        _about_license(facts.parents, license_),
        "## Recipe",
        "```json\n" + json.dumps(facts.keys, indent=2, ensure_ascii=False) + "\n```",
        "```sh\n" + facts.command + "\n```",
        "## Use",
        "```python\n" + LOAD[facts.library].format(place=facts.place) + "\n```",
        "## Scores",
        _scores(facts.scores),
    ]
    return "\n\n".join(sections) + "\n"


def trained_card(facts: TrainedFacts) -> str:
    """The text of a fine-tuned model's `README.md`."""
    license_ = None if facts.base is None else facts.base.license
    known = license_ in LICENSES
    data = ModelCardData(
        base_model=facts.base.name if facts.base is not None and facts.base.revision else None,
        license=None if license_ is None else license_ if known else "other",
        license_name=None if license_ is None or known else license_,
        library_name="transformers",
        tags=["mixmerge", facts.strategy],
        model_name=facts.title if facts.scores else None,
        eval_results=[_result(row) for row in facts.scores] or None,
    )
    on = "the mixed data of several tasks" if facts.strategy == "mix" else "one task"
    sections = [
        f"# {facts.title}",
        *_verdict(facts.study),
        f"Fine-tuned on {on}.",
        *([] if facts.base is None else ["## Base", _table(PARENT_COLUMNS, [_row(facts.base)])]),
        f"License: {license_ or 'unknown, because that of the base is not stated'}. The terms of the base and of the "
        "training data apply.",
        "## Training",
        _table(("task", "rows"), [(task, f"{rows:,}") for task, rows in facts.rows.items()]),
        "```json\n" + json.dumps(facts.settings, indent=2, ensure_ascii=False) + "\n```",
        "```sh\n" + facts.command + "\n```",
        "## Use",
        "```python\n" + LOAD["transformers"].format(place=facts.title) + "\n```",
        "## Scores",
        _scores(facts.scores),
    ]
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"))


def _verdict(study: Mapping[str, str]) -> list[str]:
    return [f"## Verdict of the study “{study['title']}”", study["verdict"]] if study else []


def _row(parent: CardParent) -> tuple[str, ...]:
    name = f"[{parent.name}](https://huggingface.co/{parent.name})" if parent.revision else parent.name
    return parent.role, name, parent.revision or "", parent.license or "unknown", parent.coefficient, parent.sha256[:16]


def _about_license(parents: Sequence[CardParent], license_: str | None) -> str:
    if license_ is not None:
        return f"License: {license_}, the one with the most conditions among the parents'."
    unknown = [parent.role for parent in parents if parent.license is None]
    why = f"that of {', '.join(unknown)} is not stated" if unknown else "those of the parents cannot be ordered"
    return f"License: unknown, because {why}. The terms of every parent apply."


def _scores(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "Not evaluated when this card was written."
    lines = [
        (
            *(str(row[key]) for key in ("benchmark", "metric", "split")),
            score(row["value"], 2),
            f"{score(row['low'], 2)} to {score(row['high'], 2)}",
            str(row["n"]),
        )
        for row in rows
    ]
    return _table(("benchmark", "metric", "split", "score", "95% interval", "items"), lines)


def _result(row: Mapping[str, Any]) -> EvalResult:
    return EvalResult(
        task_type="text-generation",
        dataset_type=str(row["benchmark"]),
        dataset_name=str(row["benchmark"]),
        dataset_split=str(row["split"]),
        metric_type=str(row["metric"]),
        metric_value=float(row["value"]),
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
