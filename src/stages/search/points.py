"""Points of a search as merges: the keys of every method, and the recipe and command line of a point."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config.quoting import quoted
from src.merging.recipe import Recipe
from src.search.space import PREFIX, SAME_FILES, Point, Space
from src.stages.build import build
from src.stages.job import Job, compose_job
from src.stages.merge.jobs import as_user_error, build_recipe
from src.stages.train.names import root_key
from src.utils.errors import UserError

NOT_TEXT = ("null", "true", "false", "nan", "inf")
OWN = ("search", "output")  # keys of the search itself, which its merges do not take


class MergePoints:
    """The merges of a search.

    Args:
        job: The search.
        methods: Choices of conf/merge.
        specialists: File hashes of each specialist, in the order of the coefficients.

    Attributes:
        names: Of the specialists.
        kept: Overrides of the search that its merges share.
        nodes: By method, all its keys with their configured values.
        files: Hashes of the files that the methods read.
    """

    def __init__(self, job: Job, methods: Sequence[str], specialists: Mapping[str, Mapping[str, str]]) -> None:
        self.names, self._specialists = list(specialists), specialists
        self.kept = [word for word in job.overrides if root_key(word) not in OWN and not _sets(word, "merge")]
        own = configured_method(job)
        self._jobs = {
            method: job if method == own else compose_job("merge", [*self.kept, f"merge={method}"])
            for method in methods
        }
        self.nodes = {method: _plain(found.cfg.merge) for method, found in self._jobs.items()}
        built = {method: build_recipe(found, specialists)[1] for method, found in self._jobs.items()}
        self.files = {f"{method}.{name}": hashes for method, named in built.items() for name, hashes in named.items()}

    def recipe(self, point: Point) -> Recipe:
        """The recipe of a point.

        Raises:
            UserError: A value is out of its key's range, or the coefficients do not fit the specialists.
        """
        job = self._jobs[point.method]
        cfg = copy.deepcopy(job.cfg)
        for key, value in point.settings(self.nodes[point.method]).items():
            cfg.merge[key] = value
        try:
            recipe, _ = build_recipe(replace(job, cfg=cfg), self._specialists)
        except Exception as error:
            raise as_user_error(error) from error
        recipe.coefficients(self.names)
        return recipe

    def specialist(self, name: str) -> Recipe:
        """A merge whose weights are those of one specialist, with the tokenizer and files of the points."""
        alone = literal({other: float(other == name) for other in self.names})
        same = tuple(PREFIX + key for key in SAME_FILES)
        kept = [word for word in self.kept if root_key(word) != "merge" or _sets(word, *same)]
        recipe: Recipe = build(compose_job("merge", [*kept, "merge=linear", f"merge.weights={alone}"]).cfg.merge)
        return recipe

    def words(self, point: Point) -> list[str]:
        """The keys that a point sets, as overrides."""
        settings = point.settings(self.nodes[point.method])
        return [f"merge={point.method}", *(f"{PREFIX}{key}={literal(value)}" for key, value in settings.items())]

    def overrides(self, point: Point) -> list[str]:
        """All overrides of the `merge.py` command of a point."""
        words = self.words(point)
        replaced = [word.partition("=")[0] for word in words[1:]]
        return [*(word for word in self.kept if not _sets(word, *replaced)), *words]

    def check(self, space: Space) -> None:
        """Build the recipes at the ends of all ranges.

        Raises:
            UserError: A value is invalid; the key is named.
        """
        for method in space.methods:
            for key, point in space.edges(method):
                try:
                    self.recipe(point)
                except UserError as error:
                    raise UserError(f"search.space.{key}: {error}") from error


def configured_method(job: Job) -> str:
    """The choice of conf/merge of a job."""
    typed = [word.partition("=")[2] for word in job.overrides if _sets(word, "merge")]
    return typed[-1] if typed else str(job.cfg.merge._target_).rpartition(".")[2]


def literal(value: Any) -> str:
    """A plain value as Hydra reads it on a command line.

    Example:
        >>> literal({"codegen": 0.3, "codesum": None})
        '{codegen: 0.3, codesum: null}'
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {literal(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z][\w.-]*", value) and value.lower() not in NOT_TEXT else quoted(value)
    return json.dumps(value)


def _sets(word: str, *keys: str) -> bool:
    """True if an override sets one of the keys or an entry of it; the group `merge` has entries of its own."""
    key = word.lstrip("+~").partition("=")[0]
    return any(key == one or (one.startswith(PREFIX) and key.startswith(f"{one}.")) for one in keys)


def _plain(node: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(node, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
