"""Checks across the fields of a config: all problems are reported at once, before anything is read."""

from __future__ import annotations

from collections.abc import Collection

from omegaconf import DictConfig

from src.utils.errors import UserError, unknown_choice

FORMATS = ("evalplus", "lm_eval", "model_index")  # of `formats`
SPLITS = ("test", "validation")
PREFLIGHT = ("warn", "strict", "off")


def check_train(cfg: DictConfig, of_one_task: Collection[str]) -> None:
    """Check that the strategy fits the tasks.

    Args:
        cfg: The composed config.
        of_one_task: Strategies that need `task`.

    Raises:
        UserError: With every problem found.
    """
    problems = []
    name = cfg.strategy.name
    if cfg.preview < 0:
        problems.append(f"preview={cfg.preview}: expected a number of rows per task, 1 or more")
    tasks = [str(task) for task in cfg.tasks]
    if name in of_one_task and cfg.task is not None and cfg.task not in tasks:
        unknown = unknown_choice("task", str(cfg.task), tasks)
        problems.append(f"{unknown}; tasks=[{','.join([*tasks, str(cfg.task)])}] adds a file of conf/tasks")
    if name in (*of_one_task, "base"):
        if "gradient_cosine" in (cfg.callbacks or {}):
            problems.append(f"callbacks.gradient_cosine compares tasks, strategy={name} has only one; use strategy=mix")
        if any(cfg.mix[key] is not None for key in ("ratio", "ratios")) or cfg.mix.temperature != 1:
            problems.append(f"mix.* are proportions of tasks, strategy={name} has only one; use strategy=mix")
    if problems:
        raise UserError("; ".join(problems))


def check_merge(cfg: DictConfig) -> None:
    """Check that the keys of a merge fit together.

    Raises:
        UserError: With every problem found.
    """
    problems = []
    if cfg.verify_all and cfg.verify is None:
        problems.append("verify_all=true needs verify=DIR, the merge to verify")
    if cfg.search is not None:
        if cfg.dry_run:
            problems.append("dry_run=true describes merges, not a search; leave out search=")
        if cfg.recipe is not None:
            problems.append("recipe= names one point, search= chooses one; leave out one of them")
        if cfg.adapter is not None:
            problems.append("search= scores full merges; add adapter= to the command of the best point instead")
    if problems:
        raise UserError("; ".join(problems))


def check_evaluate(cfg: DictConfig) -> None:
    """Check that there is one source of answers with what it needs, or only a contamination check.

    Raises:
        UserError: With every problem found.
    """
    problems = []
    given = [key for key in ("checkpoint", "samples", "predictions") if cfg[key] is not None]
    given += ["generator=openai"] if is_served(cfg) else []
    if len(given) > 1 or (not given and cfg.contamination is None):
        problems.append(
            f"expected one of checkpoint=DIR, samples=FILE or predictions=FILE, got {' and '.join(given) or 'none'}; "
            "generator=openai takes their place, its server has loaded the model"
        )
    if (cfg.predictions is None) != (cfg.references is None):
        problems.append("predictions=FILE and references=FILE must be given together")
    if cfg.predictions is None and (cfg.prediction_field is not None or cfg.reference_field is not None):
        problems.append("prediction_field and reference_field need predictions=FILE and references=FILE")
    if (cfg.samples is not None or cfg.predictions is not None) and cfg.benchmark is None:
        problems.append("existing answers need benchmark=NAME (humaneval, mbpp, codexglue, ...)")
    if cfg.predictions is not None and cfg.contamination is not None:
        problems.append("contamination= needs the items of a benchmark; give samples=FILE instead of predictions=")
    if cfg.contamination_keep and cfg.contamination is None:
        problems.append("contamination_keep selects rows of contamination=FILE, which is not given")
    if cfg.split not in SPLITS:
        problems.append(f"split={cfg.split}: expected one of {', '.join(SPLITS)}")
    if unknown := sorted(set(cfg.formats) - set(FORMATS)):
        problems.append(f"formats: expected some of {', '.join(FORMATS)}, got {', '.join(unknown)}")
    if cfg.predictions is not None and set(cfg.formats) - {"model_index"}:
        problems.append("formats: predictions=FILE has no prompts; only model_index can be written")
    if problems:
        raise UserError("; ".join(problems))


def is_served(cfg: DictConfig) -> bool:
    """Return True if a server generates, which has loaded its model itself, instead of a checkpoint in our hands."""
    return cfg.generator is not None and "base_url" in cfg.generator


def check_compare(cfg: DictConfig) -> None:
    """Check that there is an evaluation, or several different ones to compare.

    Raises:
        UserError: There is none, one is given twice, a limit is negative, or `preflight` is unknown.
    """
    if cfg.reference is None:
        raise UserError("expected one or more evaluations, the reference first: python compare.py RUN OTHER ...")
    check_preflight(cfg)
    if min(cfg.page_limit, cfg.show) < 0:
        raise UserError(f"page_limit={cfg.page_limit}, show={cfg.show}: expected numbers of at least 0")
    places = [str(cfg.reference), *map(str, cfg.runs)]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise UserError(f"{twice} is given twice; expected different evaluations")


def check_preflight(cfg: DictConfig) -> None:
    """Check the choice of `preflight`, which compare.py and study.py share."""
    if cfg.preflight not in PREFLIGHT:
        raise unknown_choice("preflight", str(cfg.preflight), list(PREFLIGHT))
