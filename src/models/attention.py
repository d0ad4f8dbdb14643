"""Attention backends by name with their requirements, and our own backend for packed rows.

B rows of a micro-batch (1 where documents are packed end to end), H query heads, G key-value heads, T tokens,
D head width, N documents.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from src.utils.errors import UserError, unknown_choice

OURS = "mixmerge_varlen"  # transformers' name for `varlen`


@dataclass(frozen=True)
class Backend:
    """An implementation of attention.

    Args:
        name: Its name in transformers.
        install: Command that installs it.
        installed: Returns true if it is installed.
        on_cpu: Whether it runs without a GPU.
        in_float32: Whether its GPU kernels take float32.
    """

    name: str
    install: str
    installed: Callable[[], bool]
    on_cpu: bool = True
    in_float32: bool = True


def _always() -> bool:
    return True


# In the order in which `auto` tries them for packed documents.
BACKENDS = {
    "flash_attention_3": Backend(
        "flash_attention_3",
        "pip install 'git+https://github.com/Dao-AILab/flash-attention#subdirectory=hopper' (Hopper GPUs)",
        lambda: bool(is_flash_attn_3_available()),
        on_cpu=False,
        in_float32=False,
    ),
    "flash_attention_2": Backend(
        "flash_attention_2",
        "pip install flash-attn --no-build-isolation",
        lambda: bool(is_flash_attn_2_available()),
        on_cpu=False,
        in_float32=False,
    ),
    "varlen": Backend(OURS, "pip install 'torch>=2.12'", lambda: _has_varlen(), in_float32=False),
    "sdpa": Backend("sdpa", "pip install torch", _always),
    "flex": Backend("flex_attention", "pip install torch", _always, on_cpu=False),  # no backward pass on a CPU
    "eager": Backend("eager", "pip install torch", _always),
}


def choose_attention(name: str = "auto", *, packed: bool = False, half: bool = True, gpu: bool | None = None) -> str:
    """Return the transformers name of the backend that `model.attention` asks for.

    Args:
        name: A key of `BACKENDS`, or "auto": the fastest one installed.
        packed: Whether documents lie end to end in one row, with attention blocked between them.
        half: Whether a GPU computes in bfloat16 or float16.
        gpu: Whether it runs on a GPU; None: use a GPU if there is one.

    Raises:
        UserError: The name is unknown, or the backend is not installed (the message has the install command) or cannot
            run here.
    """
    on_gpu = torch.cuda.is_available() if gpu is None else gpu
    if name == "auto":
        found = (key for key in BACKENDS if (packed or key != "varlen") and not _refusal(key, on_gpu, half))
        return BACKENDS[next(found)].name
    if name not in BACKENDS:
        raise unknown_choice("model.attention", name, ["auto", *BACKENDS])
    refusal = _refusal(name, on_gpu, half)
    if refusal:
        raise UserError(f"model.attention={name} {refusal}, or set model.attention=auto")
    return BACKENDS[name].name


def _refusal(name: str, on_gpu: bool, half: bool) -> str | None:
    backend = BACKENDS[name]
    if not on_gpu and not backend.on_cpu:
        return "needs a CUDA GPU, but none is in use: set trainer=gpu on a machine with one"
    if not backend.installed():
        return f"is not installed: {backend.install}"
    if on_gpu and not half and not backend.in_float32:
        return "supports half precision only: set trainer.precision=bf16-mixed"
    return None


def _has_varlen() -> bool:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return "enable_gqa" in inspect.signature(varlen_attn).parameters  # the first releases had a different signature


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each document: flash kernels of torch on a GPU, one SDPA call per document on a CPU.

    Nothing is computed across documents, so the cost is the sum of the documents' costs.

    Args:
        module: The attention layer (unused; required by transformers' interface).
        query: (B, H, T, D).
        key: (B, G, T, D).
        value: (B, G, T, D).
        attention_mask: Unused; `cu_seq_lens_q` has the document boundaries.
        scaling: Factor on the scores.
        cu_seq_lens_q: Start of each document, then T, int32 (N + 1), with B = 1; None: each row is one document.
        max_length_q: Tokens of the longest document.

    Returns:
        (B, T, H, D), and None instead of attention weights.
    """
    if query.is_cuda:
        return _flash_varlen(query, key, value, scaling, cu_seq_lens_q, max_length_q), None
    return _document_by_document(query, key, value, scaling, cu_seq_lens_q), None


def _document_by_document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, borders: torch.Tensor | None
) -> torch.Tensor:
    rows, width = query.shape[0], query.shape[2]
    assert rows == 1 or borders is None
    parts = [
        F.scaled_dot_product_attention(
            query[:, :, start:stop], key[:, :, start:stop], value[:, :, start:stop],
            is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1],
        )
        for start, stop in itertools.pairwise([0, width] if borders is None else borders.tolist())
    ]  # fmt: skip
    return torch.cat(parts, dim=2).transpose(1, 2)


def _flash_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    borders: torch.Tensor | None,
    longest: int | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    rows, _, width, _ = query.shape
    if borders is None:
        borders = torch.arange(0, (rows + 1) * width, width, dtype=torch.int32, device=query.device)
    # under autocast, rotary embeddings leave query and key in float32, which these kernels do not accept
    device = query.device.type
    half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1).to(half) for tensor in (query, key, value))
    out = varlen_attn(
        q, k, v, borders, borders, longest or width, longest or width,
        scale=scaling, window_size=(-1, 0), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    assert isinstance(out, torch.Tensor)
    return out.unflatten(0, (rows, width))


AttentionInterface.register(OURS, varlen_attention)  # transformers' registry: a model config names it
