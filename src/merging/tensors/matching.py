"""Parents under one set of tensor names: other prefixes, copies of a tied embedding, buffers of old exports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from functools import cached_property

import torch

from src.checkpoints import TensorInfo
from src.checkpoints.layers import locate
from src.checkpoints.model_class import class_names
from src.merging.tensors.lora_factors import Factors, factors_of
from src.merging.tensors.parent import Parent
from src.utils.errors import UserError

# Tables and masks that model classes compute themselves; older versions of transformers wrote them into the file.
BUFFER = re.compile(
    r"(^|\.)(rotary_emb\.(original_)?inv_freq|rotary_emb\.(cos|sin)_cached|(attn|attention)\.masked_bias"
    r"|position_ids|token_type_ids)$"
)
CAUSAL_MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")  # with four dimensions; with one it is a parameter
BLOCK = 1 << 22  # elements that are compared at a time


class TensorView:
    """A parent that shows some of its tensors, under other names.

    Args:
        parent: Parent that holds them.
        stored: Name in `parent` by the name that is shown.
    """

    def __init__(self, parent: Parent, stored: Mapping[str, str]) -> None:
        self.parent = parent
        self.path = parent.path
        self.config = parent.config
        self._stored = stored

    @property
    def names(self) -> tuple[str, ...]:
        """Names that are shown, sorted."""
        return tuple(self.table)

    @property
    def tied(self) -> bool:
        """That of the parent."""
        return self.parent.tied

    @property
    def computed(self) -> frozenset[str]:
        """Those of the parent, under the names that are shown."""
        return frozenset(shown for shown, name in self._stored.items() if name in self.parent.computed)

    @cached_property
    def table(self) -> Mapping[str, TensorInfo]:
        """Shapes and dtypes by the names that are shown."""
        return {shown: self.parent.table[self._stored[shown]] for shown in sorted(self._stored)}

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor."""
        return self.parent.tensor(self._stored[name])

    def factors(self, name: str) -> Factors | None:
        """See `LowRank.factors`."""
        return factors_of(self.parent, self._stored[name])

    def flat(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Elements [start, stop) of a tensor in storage order, one-dimensional."""
        return self.parent.flat(self._stored[name], start, stop)

    def read_into(self, name: str, start: int, out: torch.Tensor) -> None:
        """Copy elements [start, start + len(out)) of a tensor into `out`."""
        self.parent.read_into(self._stored[name], start, out)

    def prefetch(self, name: str) -> None:
        """Start reading a tensor that is needed soon."""
        if name in self._stored:
            self.parent.prefetch(self._stored[name])


def match_tensors(base: Parent, specialists: Mapping[str, Parent]) -> tuple[Parent, dict[str, Parent]]:
    """Show all parents under the base's tensor names; what one file holds and need not hold is left out of all.

    Left out are the head of a tied model (where it equals the embedding) and buffers that some parents lack. Parents
    whose files agree are returned as they are.

    Args:
        base: Its names are those of the merge.
        specialists: By name.

    Raises:
        UserError: A model is tied by its config, and its file holds a head that differs from the embedding.
    """
    origin = without_tied_head(base)
    head = base.table.keys() - origin.table.keys()
    found = {label: _matched(parent, base, head) for label, parent in specialists.items()}
    tables = [origin.table, *(parent.table for parent in found.values())]
    every = set(tables[0]).union(*tables)
    optional = {
        name for name in every if not all(name in table for table in tables) and _is_buffer(name, *_infos(name, tables))
    }
    return _without(origin, optional), {label: _without(parent, optional) for label, parent in found.items()}


def without_tied_head(parent: Parent) -> Parent:
    """The parent without the output head that its config ties to the input embedding.

    Raises:
        UserError: The file holds a head that differs from the embedding.
    """
    found = _head_and_embedding(parent)
    if found is None or not parent.tied:
        return parent
    head, embedding = found
    if different := _differing(parent, head, embedding):
        raise UserError(
            f"{parent.path} has tie_word_embeddings=True, but {head} differs from {embedding} in {different} of its "
            f"{parent.table[head].numel} values; remove {head} from the file or set tie_word_embeddings to false"
        )
    return _without(parent, {head})


def _matched(parent: Parent, base: Parent, head: Set[str]) -> Parent:
    if parent.computed and not parent.computed & head:  # an adapter leaves the base's head as it is
        return _without(parent, head)
    return without_tied_head(_renamed(parent, base))


def _head_and_embedding(parent: Parent) -> tuple[str, str] | None:
    """Names of the head and of the input embedding it has the shape of; None where the file does not hold both."""
    weights = [name for name, info in parent.table.items() if len(info.shape) == 2 and name.endswith(".weight")]
    for head in (name for name in weights if locate(name).kind == "lm_head"):
        for name in weights:
            if locate(name).kind == "embeddings" and parent.table[name].shape == parent.table[head].shape:
                return head, name
    return None


def _differing(parent: Parent, left: str, right: str) -> int:
    count, size = 0, parent.table[left].numel
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        count += int((parent.flat(left, start, stop) != parent.flat(right, start, stop)).sum())
    return count


def _renamed(parent: Parent, base: Parent) -> Parent:
    """`parent` under the base's names; as it is where they have all names in common, or none by the class's rules."""
    strange = parent.table.keys() - base.table.keys()
    if not strange or all(_is_buffer(name, parent.table[name]) or locate(name).kind == "lm_head" for name in strange):
        return parent
    ours, theirs = class_names(base.config, base.names), class_names(base.config, parent.names)
    shown = {new: old for old, new in ours.items()}
    if not ours or not any(theirs.get(name, name) in shown for name in strange):
        return parent
    return TensorView(parent, {shown.get(theirs[name], theirs[name]): name for name in parent.names})


def _infos(name: str, tables: list[Mapping[str, TensorInfo]]) -> list[TensorInfo]:
    return [table[name] for table in tables if name in table]


def _is_buffer(name: str, *infos: TensorInfo) -> bool:
    mask = CAUSAL_MASK.search(name) and all(len(info.shape) == 4 for info in infos)
    return bool(mask or BUFFER.search(name))


def _without(parent: Parent, names: Set[str]) -> Parent:
    kept = [name for name in parent.names if name not in names]
    return parent if len(kept) == len(parent.names) else TensorView(parent, {name: name for name in kept})
