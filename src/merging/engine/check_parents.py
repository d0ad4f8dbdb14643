"""Check that base and specialists match, before anything is written."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import torch

from src.checkpoints.compat import tensor_differences
from src.checkpoints.configs import config_differences, quantization
from src.merging.recipe import Recipe
from src.merging.tensors.parent import Parent
from src.merging.tensors.tokenizer_json import read_vocabulary, vocabulary_differences
from src.merging.tensors.vocabulary import ROWS
from src.utils.errors import UserError, first_differences, raise_first
from src.utils.progress import say

SAMPLED_TENSORS = 8
SAMPLED_ELEMENTS = 1 << 17  # per sampled tensor
UNRELATED = 0.1  # cosine between a specialist and its base; below it, they are unrelated
MERGEABLE = {torch.float64, torch.float32, torch.bfloat16, torch.float16}
QUANTIZED = re.compile(
    r"\.(weight_scale(_inv)?|qweight|qzeros|g_idx|SCB|absmax|quant_map|nested_absmax|weight_packed)$"
)
EIGHT_BITS = {torch.float8_e4m3fn, torch.float8_e5m2}
PARALLEL = 0.9  # cosine between two task vectors; above it, they probably share an ancestor


def check_parents(base: Parent, specialists: Mapping[str, Parent], same_tokens: bool = True) -> None:
    """Require that there are no `parent_conflicts`.

    Raises:
        UserError: The first of them; its first five differences are listed.
    """
    raise_first(parent_conflicts(base, specialists, same_tokens))


def parent_conflicts(base: Parent, specialists: Mapping[str, Parent], same_tokens: bool = True) -> Iterator[UserError]:
    """Everything that keeps parents from being merged: other networks, tensors, shapes, tied weights, quantization.

    Args:
        base: Its tensors are those of the merge.
        specialists: By name.
        same_tokens: Whether tokenizers must be equal too.
    """
    if not specialists:
        yield UserError("nothing to merge; expected at least one specialist, e.g. specialists.codegen=DIR")
    for label, parent in {"base": base, **specialists}.items():
        yield from _quantized(label, parent)
    for label, parent in specialists.items():
        differences = tensor_differences(base.table, parent.table, "the base", any_dtype=_castable(base, parent))
        if differences:
            message = f"{parent.path} ({label}) does not match {base.path} (base)"
            yield UserError(first_differences(message, differences) + _way_out(base, parent))
        if differences := config_differences(base.config, parent.config):
            message = f"{parent.path / 'config.json'} ({label}) describes another network than the base's"
            yield UserError(first_differences(message, differences) + "; the weights of such models do not average")
        if not _same_tying(base, parent):
            yield UserError(
                f"{parent.path} ({label}) has tie_word_embeddings={parent.tied}, {base.path} (base) {base.tied}: "
                "export both the same way"
            )
        if same_tokens:
            yield from _other_tokens(base, label, parent)


def check_excludes(recipes: Sequence[Recipe], names: Sequence[str]) -> None:
    """Require that every `merge.exclude` matches a tensor.

    Raises:
        UserError: `merge.exclude` matches nothing.
    """
    for recipe in recipes:
        if recipe.exclude is not None and not any(recipe.excludes(name) for name in names):
            raise UserError(
                f"merge.exclude={recipe.exclude!r} matches no tensor; expected names such as {', '.join(names[:5])}"
            )


def check_same_base(base: Parent, specialists: Mapping[str, Parent]) -> None:
    """Refuse a specialist of a different base; warn if all specialists seem to share a later ancestor.

    Unrelated weights are nearly orthogonal, but a fine-tune stays correlated with its base however long it was trained:
    after moving six times the base's own norm, the cosine is still 0.16. Two specialists whose task vectors point the
    same way (cosine above 0.9) probably share a fine-tuned ancestor that should be the base instead.

    Raises:
        UserError: A specialist comes from a different base.
    """
    names = sampled_names(base)
    if not names:
        return
    origin = sampled_weights(base, names)
    weights = {label: sampled_weights(parent, names) for label, parent in specialists.items()}
    raise_first(_unrelated(base, specialists, origin, weights))
    for left, right in itertools.combinations(weights, 2):
        likeness = cosine(weights[left] - origin, weights[right] - origin)
        if likeness > PARALLEL:
            say(
                f"warning: the task vectors of {left} and {right} are nearly parallel (cosine {likeness:.2f}); "
                f"is {base.path} the checkpoint they were fine-tuned from?"
            )


def unrelated_parents(base: Parent, specialists: Mapping[str, Parent]) -> Iterator[UserError]:
    """Specialists that were not fine-tuned from the base; all have its tensors."""
    if names := sampled_names(base):
        weights = {label: sampled_weights(parent, names) for label, parent in specialists.items()}
        yield from _unrelated(base, specialists, sampled_weights(base, names), weights)


def _unrelated(
    base: Parent, specialists: Mapping[str, Parent], origin: torch.Tensor, weights: Mapping[str, torch.Tensor]
) -> Iterator[UserError]:
    for label, parent in specialists.items():
        likeness = cosine(weights[label], origin)
        if likeness < UNRELATED:
            yield UserError(
                f"{parent.path} ({label}) was not fine-tuned from {base.path}: the cosine of their "
                f"weights is {likeness:.2f}, expected at least {UNRELATED}; set base=DIR to its own base"
            )


def _quantized(label: str, parent: Parent) -> Iterator[UserError]:
    method = quantization(parent.config)
    codes = [name for name, info in parent.table.items() if QUANTIZED.search(name) or info.dtype in EIGHT_BITS]
    if method is None and codes:
        dtype = str(parent.table[codes[0]].dtype).removeprefix("torch.")
        method = f"{codes[0]} is {dtype}"
    if method is not None:
        yield UserError(
            f"{parent.path} ({label}) is quantized ({method}): its tensors are codes, not weights; "
            "load it with transformers, call model.dequantize(), and name the directory that save_pretrained writes"
        )


def _castable(base: Parent, parent: Parent) -> set[str]:
    """Tensors whose dtypes may differ: all arithmetic is float32, and the result has the base's dtype."""
    return {
        name
        for name, info in base.table.items()
        if name in parent.table and {info.dtype, parent.table[name].dtype} <= MERGEABLE
    }


def _same_tying(base: Parent, parent: Parent) -> bool:
    """The default of the model class is asked for only where one config says what the other does not."""
    keys = ("model_type", "tie_word_embeddings", "text_config")
    alike = all(base.config.get(key) == parent.config.get(key) for key in keys)
    return alike or parent.tied == base.tied


def _other_tokens(base: Parent, label: str, parent: Parent) -> Iterator[UserError]:
    ours, theirs = read_vocabulary(base.path), read_vocabulary(parent.path)
    if ours is None or theirs is None:
        return  # weights without a tokenizer (an adapter, a bare export) are merged without this check
    differences = vocabulary_differences(ours.ids, theirs.ids)
    if differences:
        message = f"the tokenizer of {parent.path} ({label}) differs from the base's"
        yield UserError(
            first_differences(message, differences) + "; set merge.tokenizer=union or base to merge by token"
        )


def _way_out(base: Parent, parent: Parent) -> str:
    """Hint for embeddings padded to different heights, which are common across sizes of a model family."""
    common = [name for name in base.table if name in parent.table and base.table[name] != parent.table[name]]
    if common and all(ROWS.search(name) for name in common):
        return "; set merge.tokenizer=shared to merge the rows that all parents have"
    return ""


def sampled_names(base: Parent) -> list[str]:
    """A few matrices, spread over the model."""
    matrices = [name for name, info in base.table.items() if len(info.shape) > 1 and info.dtype.is_floating_point]
    return matrices[:: max(1, math.ceil(len(matrices) / SAMPLED_TENSORS))]


def sampled_weights(checkpoint: Parent, names: Sequence[str]) -> torch.Tensor:
    """The first elements of some tensors, float64, one-dimensional."""
    return torch.cat(
        [checkpoint.flat(name, 0, min(SAMPLED_ELEMENTS, checkpoint.table[name].numel)).double() for name in names]
    )


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    """Cosine of the angle between two vectors; 0 if one is zero."""
    return float(one @ other) / max(float(one.norm() * other.norm()), 1e-30)
