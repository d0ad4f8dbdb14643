"""Model card of a merge, from its record and from the evaluations in the run directories beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from src.evaluation.statistics.scores import LOSSES
from src.reporting.model_card import CardParent, MergeFacts, merge_card, read_license
from src.runs.finished import read_record
from src.runs.paths import checkpoint_label, hub_origin
from src.runs.record import Inputs
from src.stages.merge.recorded import merge_identity
from src.utils.files import sha256_json

WEIGHTS = (".safetensors", ".bin", ".index.json")


def card_text(
    title: str,
    library: str,
    inputs: Inputs,
    results: Mapping[str, Any],
    argv: Sequence[str],
    evaluations: Path,
    place: str | None = None,
    outputs: Mapping[str, str] | None = None,
) -> str:
    """The README.md of a merge.

    Args:
        title: Name of its run directory.
        library: `transformers`, or `peft` for an adapter.
        inputs: From its record: hashes of the parents' files.
        results: From its record: recipe and directories of the parents.
        argv: Command that made it.
        evaluations: Directory of the runs of `evaluate.py` that may have scored it.
        place: What `from_pretrained` takes; None: `title`.
        outputs: Hashes of its files, if it is written.
    """
    recipe = dict(results["recipe"])
    coefficients, target = recipe.pop("weights"), str(recipe.pop("_target_"))
    method = get_object(target)
    return merge_card(
        MergeFacts(
            title=title,
            place=place or title,
            library=library,
            method=target.rpartition(".")[2],
            description=str(method.__doc__).strip().splitlines()[0].removesuffix("."),
            arxiv=method.arxiv,
            engine=str(recipe["engine"]),
            parents=tuple(
                card_parent(role, Path(path), inputs[role], coefficients.get(role))
                for role, path in results["parents"].items()
            ),
            keys={key: value for key, value in recipe.items() if value is not None},
            command=" ".join(argv),
            scores=tuple(scores_of(evaluations, [merge_identity(inputs, results["recipe"]), outputs])),
            study=results.get("study", {}),
        )
    )


def card_parent(role: str, path: Path, files: Any, coefficient: Any) -> CardParent:
    """A parent of a model, from its directory and the hashes of its files."""
    name, revision = hub_origin(path) or (checkpoint_label(path), None)
    weights = {file: sha256 for file, sha256 in files.items() if file.endswith(WEIGHTS)}
    sha256 = next(iter(weights.values())) if len(weights) == 1 else sha256_json(weights)
    shown = "" if coefficient is None else f"{coefficient:.6g}" if isinstance(coefficient, float) else str(coefficient)
    return CardParent(role, name, revision, read_license(path), shown, sha256)


def scores_of(evaluations: Path, identities: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Scores of the evaluations of a checkpoint; one that was merged in memory has the same."""
    for record in sorted(evaluations.glob("*/run.json")):
        found = read_record(record.parent) or {}
        if found.get("inputs", {}).get("checkpoint") in [one for one in identities if one]:
            for row in found.get("results", {}).get("scores", ()):
                if row["metric"] not in LOSSES:
                    yield {**row, "split": found["config"]["split"]}
