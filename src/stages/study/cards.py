"""Model cards of a study's two champions: their README.md says the verdict, scores, recipe, parents and licenses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.checkpoints.fingerprint import fingerprint
from src.reporting.model_card import CARD, TrainedFacts, trained_card
from src.runs.finished import FinishedRun, open_finished, read_record
from src.runs.record import add_results, add_text
from src.stages.merge.card import card_parent, card_text, scores_of
from src.utils.progress import say

SETTINGS = ("epochs", "steps", "tokens", "batch_size", "batch_tokens", "learning_rate", "max_length", "packing")


def write_cards(title: str, results: Mapping[str, Any]) -> list[Path]:
    """Write the README.md of the mixture and of the best merge; one that was edited by hand stays.

    Args:
        title: Title of the study.
        results: Of its record: `verdict` and `sides`.

    Returns:
        The cards written.
    """
    lines = [line for line in str(results["verdict"]).splitlines() if not line.startswith("Take ")]
    written = []
    for side in results["sides"]:
        place = Path(side["checkpoint"])
        run = open_finished(place)
        if run is None or is_edited(run):
            continue
        try:
            add_results(place, study={"title": title, "verdict": "\n\n".join(lines)})
            add_text(place, CARD, _text(place))
        except OSError as error:  # a run of somebody else, or a full disk: the study stands without it
            say(f"warning: {place / CARD} is not written: {error}")
            continue
        written.append(place / CARD)
    return written


def is_edited(run: FinishedRun) -> bool:
    """Return true if the card is not the one that the run or a study wrote."""
    path = run.directory / CARD
    return path.is_file() and (CARD not in run.outputs or not run.outputs[CARD].describes(path))


def _text(place: Path) -> str:
    run, record = open_finished(place), read_record(place)
    assert run is not None
    assert record is not None
    evaluations = place.parent.parent / "evaluate"
    if run.stage == "merge":
        library = "peft" if "adapter" in run.results else "transformers"
        files = fingerprint(place)
        return card_text(place.name, library, run.inputs, run.results, run.argv, evaluations, outputs=files)
    strategy, parents = record["config"]["strategy"], run.results.get("parents", {})
    return trained_card(
        TrainedFacts(
            title=place.name,
            strategy=str(strategy["name"]),
            base=card_parent("base", Path(parents["base"]), run.inputs["base"], None) if "base" in parents else None,
            rows={task: int(found["rows"]) for task, found in run.results.get("data", {}).items()},
            settings={key: strategy[key] for key in SETTINGS if strategy.get(key) is not None},
            command=" ".join(run.argv),
            scores=tuple(scores_of(evaluations, [fingerprint(place)])),
            study=run.results["study"],
        )
    )
