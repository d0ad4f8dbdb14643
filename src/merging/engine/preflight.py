"""Errors, time and memory of a merge, found before it is started."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from src.checkpoints.layers import locate
from src.merging.engine.chat_files import chat_conflicts
from src.merging.engine.check_parents import check_excludes, parent_conflicts, unrelated_parents
from src.merging.engine.grid import MergeRequest, choose_ops, merge_grid
from src.merging.engine.outputs import Sink, ToFunction, ToNowhere
from src.merging.methods.rule import WholeModelRule
from src.merging.recipe import Recipe
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import Parent
from src.merging.tensors.vocabulary import align_vocabulary
from src.utils.errors import UserError

SAMPLED = 1 << 24  # elements that are merged to measure the time; at most this, where a layer has tensors so small


def merge_conflicts(base: Parent, specialists: Mapping[str, Parent], recipe: Recipe) -> Iterator[UserError]:
    """Every error that a merge of opened parents would raise before its pass.

    Args:
        base: As opened.
        specialists: As opened, by name.
        recipe: The point.
    """
    yield from chat_conflicts(base.path, {label: parent.path for label, parent in specialists.items()}, recipe)
    try:
        check_excludes([recipe], base.names)
    except UserError as error:
        yield error
    try:
        aligned = align_vocabulary(*match_tensors(base, specialists), recipe.tokenizer)
    except UserError as error:
        yield error
        return
    conflicts = list(parent_conflicts(aligned.base, aligned.specialists, recipe.tokenizer == "equal"))
    yield from conflicts
    if not conflicts:  # the weights of equal tensors
        yield from unrelated_parents(aligned.base, aligned.specialists)


@dataclass(frozen=True)
class Forecast:
    """Time of a pass, from a sample of its tensors that was merged and thrown away.

    Args:
        errors: Errors of the points on the sample; None for a point without one.
        seconds: Of reading and arithmetic for all points together; None if nothing could be measured.
        sampled: Elements of the sample.
        sample_seconds: Time that the sample took.
        elements: Elements of all tensors.
    """

    errors: list[UserError | None]
    seconds: float | None
    sampled: int
    sample_seconds: float
    elements: int


def forecast(
    base: Parent, specialists: Mapping[str, Parent], recipes: Sequence[Recipe], device: str = "cpu"
) -> Forecast:
    """Merge a few tensors of a middle layer at all points, and measure the time.

    A point whose method looks at the whole model first is left out: that would be most of the merge.

    Args:
        base: Base.
        specialists: By name; they match the base.
        recipes: The points.
        device: Device of the arithmetic.
    """
    origin, _ = match_tensors(base, specialists)
    elements = sum(info.numel for info in origin.table.values())
    errors: list[UserError | None] = [None] * len(recipes)
    chosen = [index for index, recipe in enumerate(recipes) if not _needs_model(recipe)]
    names = _sample(origin)
    if not chosen or not names:
        return Forecast(errors, None, 0, 0.0, elements)
    clock = _Clock()
    sinks: list[Sink] = [*([ToNowhere()] * (len(chosen) - 1)), ToFunction(clock)]
    points = [MergeRequest(recipes[index], sink) for index, sink in zip(chosen, sinks, strict=True)]
    ops = choose_ops(elements * len(chosen), torch.device(device))
    for index, result in zip(
        chosen, merge_grid(base, specialists, points, names=names, ops=ops, device=device), strict=True
    ):
        errors[index] = result.error
    seconds, sampled = clock.seconds, clock.elements
    whole = len(chosen) == len(recipes) and not any(errors) and sampled > 0
    return Forecast(errors, seconds * elements / sampled if whole else None, sampled, seconds, elements)


class _Clock:
    """Time of the tensors after the first matrix, at which methods are compiled."""

    def __init__(self) -> None:
        self.elements = 0
        self.seconds = 0.0
        self._started: float | None = None

    def __call__(self, name: str, tensor: torch.Tensor) -> None:
        now = time.perf_counter()
        if self._started is not None:
            self.elements += tensor.numel()
            self.seconds = now - self._started
        elif tensor.dim() > 1:
            self._started = now


def _needs_model(recipe: Recipe) -> bool:
    return isinstance(recipe.rule, WholeModelRule) and recipe.rule.needs_model


def _sample(base: Parent) -> list[str]:
    """Floating-point tensors of a middle layer, the smallest matrix first, up to SAMPLED elements."""
    layers: dict[str, list[str]] = {}
    for name, info in base.table.items():
        if info.dtype.is_floating_point and info.numel:
            layers.setdefault(locate(name).layer, []).append(name)
    if not layers:
        return []
    largest = max(layers.values(), key=lambda names: len(names))  # of a block, not of a norm outside blocks
    alike = [names for names in layers.values() if len(names) == len(largest)]
    names = sorted(alike[len(alike) // 2], key=lambda name: (len(base.table[name].shape) < 2, base.table[name].numel))
    taken: list[str] = []
    total = 0
    for name in names:
        total += base.table[name].numel
        if taken and total > SAMPLED:
            break
        taken.append(name)
    return taken
