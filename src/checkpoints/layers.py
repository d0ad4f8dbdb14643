"""Layers and module kinds of tensors, read from their names in a checkpoint.

One rule for every file of a study, so that the files join on `layer`:

- The layer of a tensor is the path of its module without the prefix of the model (`model.`, `transformer.`, ...).
- Inside a numbered block it is the path to the outermost number: `model.layers.3.mlp.experts.5.up_proj.weight` is in
  `layers.3`, `encoder.block.0.layer.1.DenseReluDense.wi.weight` in `encoder.block.0`, apart from the decoder's.
- Outside blocks it is the whole path: `embed_tokens`, `norm`, `lm_head`, `encoder.final_layer_norm`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

ATTENTION = ("q", "k", "v", "qkv", "o")
FEED_FORWARD = ("gate", "up", "gate_up", "down", "router")
KINDS = ("embeddings", *ATTENTION, *FEED_FORWARD, "norm", "lm_head", "other")  # in the order of tables
# The model inside its heads and wrappers; the names that Transformers, PEFT and vision-language checkpoints use.
_PREFIX = re.compile(r"^(?:(?:base_model|model|language_model|transformer|gpt_neox|bert|roberta|backbone)\.)+")
_BLOCK = re.compile(r"^(.*?\b\w+\.(\d+))(?:\.|$)")
_EMBEDDING = re.compile(r"(?:embed|wte$|wpe$|shared$|.*embeddings?$)")
_NORM = re.compile(r"(?:.*norm\d*$|ln_\w+$)", re.IGNORECASE)  # GPT-2 writes ln_1 and ln_f
_MODULES = {
    "q": ("q_proj", "q", "query"),
    "k": ("k_proj", "k", "key"),
    "v": ("v_proj", "v", "value"),
    "qkv": ("qkv_proj", "c_attn", "query_key_value"),
    "o": ("o_proj", "o", "out_proj", "attn.c_proj", "attention.dense", "attention.output.dense"),
    "gate": ("gate_proj", "w1", "wi_0"),
    "up": ("up_proj", "w3", "wi", "wi_1", "c_fc", "fc1", "dense_h_to_4h", "intermediate.dense"),
    "gate_up": ("gate_up_proj",),
    "down": ("down_proj", "w2", "wo", "mlp.c_proj", "fc2", "dense_4h_to_h", "output.dense"),
    "router": ("mlp.gate", "block_sparse_moe.gate", "router"),
    "lm_head": ("lm_head", "embed_out"),
}
_KIND_OF = {module: kind for kind, modules in _MODULES.items() for module in modules}
_PARAMETERS = ("weight", "bias")


@dataclass(frozen=True)
class Location:
    """Position of one tensor in its network.

    Args:
        layer: For example `embed_tokens`, `layers.0`, `norm` or `lm_head`.
        kind: One of `KINDS`.
        block: Number of the block that holds the tensor; None outside blocks.
    """

    layer: str
    kind: str
    block: int | None = None

    @property
    def order(self) -> tuple[int, str, int, int, str]:
        """Sort key of `layer`, from the input of the network to its output.

        Embeddings come first and the head last. Between them every stack of blocks is followed by its norm; a decoder
        comes after its encoder.
        """
        path = self.layer.split(".")
        stack = ".".join(path[: -1 if self.block is None else -2])
        if self.block is not None:
            return (1 + (path[0] == "decoder"), stack, 0, self.block, self.layer)
        if self.kind == "lm_head":
            return (3, "", 0, 0, self.layer)
        if any(_EMBEDDING.match(part) for part in path):
            return (0, "", 0, 0, self.layer)
        return (1 + (path[0] == "decoder"), stack, 1 if self.kind == "norm" else 2, 0, self.layer)


@lru_cache(maxsize=1 << 16)  # a grid asks for every tensor of every point
def locate(name: str) -> Location:
    """Parse a tensor name.

    Args:
        name: As in a checkpoint, ending with the name of the parameter.

    Example:
        >>> locate("model.layers.3.self_attn.q_proj.bias")
        Location(layer='layers.3', kind='q', block=3)
    """
    module, _, parameter = name.rpartition(".")
    # A parameter that is not a module's `weight` or `bias`, such as the stacked `mlp.experts.gate_up_proj`, names its
    # kind.
    kind = _kind(module if parameter in _PARAMETERS and module else name)
    path = _PREFIX.sub("", module or name)
    if found := _BLOCK.match(path):
        return Location(found[1], kind, int(found[2]))
    return Location(path, kind)


def is_weight(name: str) -> bool:
    """False for biases and buffers, which the reference study leaves out of its averages (arXiv 2601.21115)."""
    return name.rpartition(".")[2] == "weight"


def kind_of(layer: str) -> str:
    """Module kind of a layer outside blocks: `norm` for `encoder.final_layer_norm`."""
    return locate(f"{layer}.weight").kind


def block_of(layer: str) -> int | None:
    """Number at the end of a layer's name: 3 for `layers.3`, None for `norm`."""
    last = layer.rpartition(".")[2]
    return int(last) if last.isdigit() else None


def _kind(module: str) -> str:
    parts = [part for part in module.split(".") if not part.isdigit()]
    for length in (3, 2, 1):  # the longest match: `mlp.c_proj` and `attn.c_proj` differ
        if kind := _KIND_OF.get(".".join(parts[-length:])):
            return kind
    last = parts[-1] if parts else module
    if _EMBEDDING.match(last):
        return "embeddings"
    return "norm" if _NORM.match(last) else "other"
