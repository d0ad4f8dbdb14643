"""Checkpoints that a config names or that are in standard run directories, and what to type if they are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from src.checkpoints.fingerprint import weight_files
from src.runs.finished import FinishedRun, open_finished
from src.runs.paths import run_path, training_name, words_for_parents
from src.stages.job import quoted_override, running_searchpath, tasks_words
from src.utils.errors import UserError

STATISTICS = ("fisher", "regmean")  # strategies of train.py, and the methods of merge.py that need their results
OF_ONE_TASK = ("specialist", *STATISTICS)
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
WITHOUT_WEIGHTS = (
    ", or debug=shrink: two layers of the architecture on generated rows"
    ", or model.init=random model.tokenizer=DIR: the full architecture without weights"
)


def model_label(model: DictConfig) -> str:
    """Return the model's label in run names: `qwen7b`; for random weights `qwen7b-shrunk`, `-rehearsal`, `-random`."""
    if model.get("shrink"):
        return f"{model.name}-{'rehearsal' if model.data == 'real' else 'shrunk'}"
    return f"{model.name}-random" if model.get("init") == "random" else str(model.name)


def is_published(model: DictConfig) -> bool:
    """True if the base is a published checkpoint, neither pretrained here nor random."""
    return model.path is not None and model_label(model) == model.name


def base_checkpoint(cfg: DictConfig) -> Path:
    """Find the checkpoint that fine-tuning starts from and merging subtracts.

    It is `base=`, the published checkpoint of the model (from the Hugging Face cache or the Hub), or the run that
    created the base here (the pocket model's pretraining, or the random weights of `model.init=random`).

    Raises:
        UserError: It is missing; the message says how to train or download it.
    """
    if cfg.base is not None:
        return written_checkpoint(str(cfg.base), "base", cfg.get("allow_pickle", False))
    if is_published(cfg.model):
        from src.models import local_directory  # transformers takes seconds to import, and most runs never come here

        path = local_directory(str(cfg.model.path), "model.path", cfg.model.get("revision"), WITHOUT_WEIGHTS)
        return existing_checkpoint(str(path), "model.path")
    directory = trained_directory(cfg, "base", None)
    if not directory.is_dir():
        raise UserError(f"{directory} is missing. Make it with: {_train_line(cfg, 'strategy=base')}")
    return directory


def specialist_checkpoints(cfg: DictConfig) -> dict[str, Path]:
    """Find one checkpoint per specialist: those that `specialists.<task>=DIR` names, else the standard run directories.

    Raises:
        UserError: Some are missing; the message holds the `train.py` lines that make them.
    """
    if "base" in cfg.specialists:
        raise UserError(f"specialists.base={cfg.specialists.base}: base is the name of the base; choose another name")
    if cfg.specialists:
        return _named_checkpoints(cfg)
    return trained_directories(cfg, "specialist", [str(task) for task in cfg.tasks])


def _named_checkpoints(cfg: DictConfig) -> dict[str, Path]:
    found, problems = {}, []
    for name in specialist_names(cfg):
        try:
            found[name] = written_checkpoint(
                str(cfg.specialists[name]), f"specialists.{name}", cfg.get("allow_pickle", False)
            )
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))
    return found


def specialist_names(cfg: DictConfig) -> list[str]:
    """Names of the merged specialists: `tasks` in order, then other names in `specialists` in the order typed."""
    given, tasks = [str(name) for name in cfg.specialists], [str(task) for task in cfg.tasks]
    if not given:
        return tasks
    return [task for task in tasks if task in given] if set(given) <= set(tasks) else given


def trained_directory(cfg: DictConfig, strategy: str, task: str | None) -> Path:
    """Return the standard run directory of a strategy; `task` if it trains for one task."""
    words = [] if strategy == "base" else tasks_words(cfg)
    return run_path(cfg.output_root, "train", training_name(model_label(cfg.model), strategy, task, cfg.seed, words))


def trained_directories(cfg: DictConfig, strategy: str, tasks: Iterable[str]) -> dict[str, Path]:
    """Find the standard run directory of a strategy for each task.

    Args:
        cfg: Of any script that has `model`, `seed` and `output_root`.
        strategy: One of those that `train.py` runs for a single task.
        tasks: Names.

    Raises:
        UserError: Some are missing; the message holds the `train.py` lines that make them.
    """
    directories = {task: trained_directory(cfg, strategy, task) for task in tasks}
    missing = {task: directory for task, directory in directories.items() if not directory.is_dir()}
    if missing:
        lines = "; ".join(_train_line(cfg, f"strategy={strategy}", f"task={task}") for task in missing)
        names = ", ".join(str(directory) for directory in missing.values())
        raise UserError(f"{names} missing. Make them with: {lines}")
    return directories


def named_specialists(cfg: DictConfig) -> list[str]:
    """Return a word for the name of a run with non-standard specialists, else nothing."""
    given = {str(task): Path(str(path)) for task, path in cfg.specialists.items()}
    standard = {task: trained_directory(cfg, "specialist", task).name for task in given}
    return [f"of{word}" for word in words_for_parents(given, standard, str(cfg.output_root))]


def existing_checkpoint(path: str, key: str, allow_pickle: bool = False) -> Path:
    """Require that `path` is a checkpoint directory, with or without weights.

    Args:
        path: A directory, or a name of the Hub: `org/name` or `org/name@revision`, looked up in the cache first.
        key: Config key that it comes from.
        allow_pickle: Whether to download pickled weights too.

    Raises:
        UserError: `path` is not one; the message names `key`.
    """
    directory = Path(path).expanduser()
    if not directory.is_dir():
        directory = _from_hub(path, key, allow_pickle)
    if not any((directory / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise UserError(f"{key}={path}: no config.json in it; a checkpoint is a Hugging Face directory")
    return directory


def _from_hub(path: str, key: str, allow_pickle: bool) -> Path:
    """Directory of a Hub name; a path inside an existing directory is not taken as one."""
    name, _, revision = path.partition("@")
    if not HUB_NAME.fullmatch(name) or Path(name.partition("/")[0]).exists():
        raise UserError(f"{key}={path}: no such directory; a checkpoint is a Hugging Face directory")
    from src.models import local_directory  # transformers takes seconds to import, and most runs never come here

    return local_directory(name, key, revision or None, allow_pickle=allow_pickle)


def written_checkpoint(path: str, key: str, allow_pickle: bool = False) -> Path:
    """Require that `path` is a checkpoint directory with weights.

    Args:
        path: See `existing_checkpoint`.
        key: Config key that it comes from.
        allow_pickle: Whether to download pickled weights too.

    Raises:
        UserError: It is not one, or it is a merge made with `save_weights=false`.
    """
    directory = existing_checkpoint(path, key, allow_pickle)
    # The record is read only if weights are missing, so that a parent's record is parsed once on its way to a merge.
    run = None if weight_files(directory) else open_finished(directory)
    if run is not None and _is_lazy(run):
        line = " ".join(word for word in run.argv if not word.startswith(("save_weights=", "output=")))
        raise UserError(f"{key}={path} is a merge without weights (save_weights=false); write the weights with: {line}")
    return directory


def is_lazy_merge(directory: Path) -> bool:
    """True if a directory is a merge without weights (`merge.py save_weights=false`)."""
    run = open_finished(directory)
    return run is not None and _is_lazy(run)


def _is_lazy(run: FinishedRun) -> bool:
    return run.stage == "merge" and not run.results["weights_saved"]


def _train_line(cfg: DictConfig, *overrides: str) -> str:
    words = [] if cfg.model.name == "pocket" else [f"model={cfg.model.name}"]
    if cfg.model.get("shrink"):
        words.append("debug=rehearse" if cfg.model.data == "real" else "debug=shrink")
    words += ["model.init=random"] if model_label(cfg.model).endswith("-random") else []
    words += [*overrides]
    if "strategy=base" not in overrides:
        words += [f"tasks=[{word.replace('+', ',')}]" for word in tasks_words(cfg)]
    words += [f"seed={cfg.seed}"] if cfg.seed else []
    words += [f"output_root={cfg.output_root}"] if cfg.output_root != "runs" else []
    return " ".join(["python train.py", *map(quoted_override, [*words, *running_searchpath()])])
