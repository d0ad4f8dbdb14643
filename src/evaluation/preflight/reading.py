"""Facts of models and evaluations, read from run directories, their records, and foreign checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.checkpoints import read_config
from src.evaluation.preflight.differing import shown
from src.evaluation.preflight.facts import Choice, Measurement, Model, Subject, Training
from src.evaluation.preflight.foreign import base_name, training_settings
from src.merging.engine.chat_files import GENERATION, template_of
from src.merging.tensors.tokenizer_json import read_vocabulary
from src.runs.finished import read_record
from src.utils.errors import UserError
from src.utils.files import read_json_object, sha256_json

WEIGHTS = (".safetensors", ".bin", ".index.json")
Record = Mapping[str, Any]


def read_subject(name: str, evaluation: Path | None, checkpoint: Path | None = None) -> Subject:
    """Read the facts of one side of a comparison.

    Args:
        name: Its name in findings.
        evaluation: Run directory of its evaluation.
        checkpoint: Its checkpoint; None: the one that the evaluation names.
    """
    record = None if evaluation is None else read_record(evaluation)
    place = checkpoint or _checkpoint_of(record)
    model = None if place is None or not place.is_dir() else read_model(name, place)
    measured = None if record is None else measurement_of(record)
    merge = None if place is None or model is None or model.kind != "merge" else read_record(place)
    others = {} if evaluation is None or merge is None else dict(_others_on_test(evaluation, merge))
    return Subject(name, model, measured, others)


def read_model(name: str, directory: Path) -> Model:
    """Read the facts of a checkpoint from its record, or from what other tools leave in a directory."""
    record = read_record(directory) or {}
    files = model_files(directory)
    if record.get("stage") == "train":
        return trained_model(name, record, files)
    if record.get("stage") == "merge":
        return _merged_model(name, record, files)
    settings = training_settings(directory)
    steps, tokens = settings.pop("steps", None), settings.pop("tokens", None)
    training = Training(name, settings, steps, tokens)
    known = bool(settings) or steps is not None
    return Model(name, base=base_name(directory), files=files, trainings=(training,) if known else ())


def trained_model(name: str, record: Record, files: Mapping[str, Any]) -> Model:
    """Return the facts in the record of a training run, also of one that is planned and has no results yet.

    Args:
        name: Name of the model.
        record: As in `run.json`.
        files: What its files say, see `model_files`.
    """
    config = record["config"]
    kind = {"base": "base", "mix": "mix"}.get(config["strategy"]["name"], "specialist")
    inputs = record.get("inputs", {})
    if kind == "base":
        return Model(name, "base", base=_weights_hash(record.get("outputs", {})), files=files)
    task = config.get("task") if kind == "specialist" else None
    base = _weights_hash(inputs["base"]) if "base" in inputs else None
    return Model(name, kind, task, base, files, (_training(name, record, task),))


def measurement_of(record: Record) -> Measurement:
    """Return the facts in the record of an evaluation, also of one that is planned and has no results yet."""
    config, results = record["config"], record.get("results", {})
    generator = {
        key: value for key, value in config.get("generator", {}).items() if key not in ("device", "token_budget")
    }
    rules = {f"rules of {name}": value for name, value in config.get("rules", {}).items()}
    items = record.get("inputs", {}).get("items", {})
    return Measurement(
        split=str(config["split"]),
        benchmarks=config["benchmarks"],
        items=items if isinstance(items, Mapping) else {},
        settings={f"generator.{key}": value for key, value in generator.items()} | rules | config.get("limits", {}),
        finish=results.get("finish", {}),
        contaminated=dict(_contaminated(results)),
        means={(row["benchmark"], row["metric"]): float(row["value"]) for row in results.get("scores", ())},
    )


def model_files(directory: Path) -> dict[str, Any]:
    """What the files of a checkpoint say about network, tokens and decoding; a damaged file says nothing."""
    found: dict[str, Any] = {}
    try:
        config = read_config(directory)
        template, vocabulary = template_of(directory), read_vocabulary(directory)
        generation = read_json_object(directory / GENERATION) if (directory / GENERATION).is_file() else {}
    except (UserError, ValueError):
        return found
    found["network"] = None if not config else _network(config)
    found["dtype"] = config.get("dtype", config.get("torch_dtype"))
    found["chat template"] = None if template is None else sha256_json(template)[:12]
    found["tokenizer"] = None if vocabulary is None else sha256_json(sorted(vocabulary.ids.items()))[:12]
    found["end tokens"] = _as_list(generation.get("eos_token_id", config.get("eos_token_id")))
    return {name: value for name, value in found.items() if value is not None}


def _training(name: str, record: Record, task: str | None) -> Training:
    config, results = record["config"], record.get("results", {})
    strategy, optimizer, data, model = (config.get(key) or {} for key in ("strategy", "optimizer", "data", "model"))
    settings = {
        "learning rate": strategy.get("learning_rate"),
        "batch size": strategy.get("batch_tokens") or strategy.get("batch_size"),
        "epochs": None if strategy.get("steps") or strategy.get("tokens") else strategy.get("epochs"),
        "sequence length": strategy.get("max_length"),
        "packing": strategy.get("packing"),
        "optimizer": {key: value for key, value in optimizer.items() if key != "_target_"} or None,
        "adapter": model.get("adapter"),
        "LoRA rank": (model.get("lora") or {}).get("rank") if model.get("adapter") else None,
        "rows": {key: data[key] for key in ("fraction", "limit") if key in data} or None,
        "decontamination": data.get("decontaminate"),
        "training seed": config.get("seed"),
    }
    cost, seen = results.get("cost", {}), results.get("trained_on", {})
    return Training(
        name,
        {key: value for key, value in settings.items() if value is not None},
        cost.get("steps"),
        cost.get("tokens"),
        {one: float(found["tokens"]) for one, found in seen.items() if "tokens" in found},
        dict(_prompts(config, task)),
    )


def _prompts(config: Record, task: str | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    world = config["model"].get("data")
    for name, node in (config.get("tasks") or {}).items():
        sources = (node.get("sources") or {}).get(world) or {}
        prompts = [source["user_prompt"] for source in sources.values() if source.get("user_prompt")]
        if prompts and task in (None, name):
            yield name, tuple(dict.fromkeys(prompts))


def _merged_model(name: str, record: Record, files: Mapping[str, Any]) -> Model:
    results = record["results"]
    recipe, chosen = results["recipe"], results.get("chosen_by")
    trainings: list[Training] = []
    for specialist, place in results["parents"].items():
        if specialist != "base" and Path(place).is_dir():
            trainings += read_model(f"{specialist} specialist of {name}", Path(place)).trainings
    return Model(
        name, "merge",
        base=_weights_hash(record["inputs"]["base"]),
        files=files,
        trainings=tuple(trainings),
        method=recipe["_target_"].rpartition(".")[2],
        parents=sha256_json(record["inputs"]),
        weights=recipe["weights"],
        scale=recipe.get("lambda"),
        normalize=bool(recipe.get("normalize")),
        choice=Choice(str(chosen["split"]), int(chosen["evaluations"])) if chosen else None,
    )  # fmt: skip


def _others_on_test(evaluation: Path, merge: Record) -> Iterator[tuple[str, str]]:
    """Other coefficients of the same method and parents, scored on test data in the runs beside an evaluation."""
    method, inputs = merge["results"]["recipe"]["_target_"], merge["inputs"]
    weights = merge["results"]["recipe"]["weights"]
    for path in sorted(evaluation.resolve().parent.glob("*/run.json")):
        record = read_record(path.parent) or {}
        place = _checkpoint_of(record) if record.get("stage") == "evaluate" else None
        if place is None or record["config"].get("split") != "test":
            continue
        other = read_record(place) or {}
        recipe = other.get("results", {}).get("recipe") or {}
        same = other.get("stage") == "merge" and recipe["_target_"] == method and other["inputs"] == inputs
        if same and recipe["weights"] != weights:  # other masks are no choice
            yield shown(recipe["weights"]), path.parent.name


def _contaminated(results: Record) -> Iterator[tuple[str, tuple[int, int]]]:
    """Counts from the words of a contamination check: `3 clean, 1 between, 2 dirty of 6 items`."""
    for name, words in results.get("contamination", {}).get("items", {}).items():
        if counted := re.search(r"(\d+) dirty of (\d+) items", words):
            yield name, (int(counted[1]), int(counted[2]))


def _checkpoint_of(record: Record | None) -> Path | None:
    place = (record or {}).get("results", {}).get("checkpoint")
    return None if place is None else Path(place)


def _weights_hash(files: Mapping[str, Any]) -> str | None:
    """One hash of weights, from the hashes or the states of files."""
    found = {
        name: state["sha256"] if isinstance(state, Mapping) else state
        for name, state in files.items()
        if name.endswith(WEIGHTS)
    }
    return f"sha256:{sha256_json(found)[:12]}" if found else None


def _network(config: Record) -> dict[str, Any]:
    names = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads")
    return {name: config[name] for name in names if name in config}


def _as_list(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return sorted(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
