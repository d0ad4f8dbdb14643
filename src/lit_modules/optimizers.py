"""AdamW and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR

from src.lit_modules.options import OptimizerOptions
from src.models.quantized import bitsandbytes
from src.utils.errors import UserError

MOMENTS = {"state1", "state2"}  # as bitsandbytes names them


def build_optimizer(
    parameters: Iterable[torch.nn.Parameter],
    options: OptimizerOptions,
    embeddings: Sequence[torch.nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """Build AdamW; biases and norm weights (one dimension) are never decayed.

    Args:
        parameters: Of the network; frozen ones are left out.
        options: Kind and constants.
        embeddings: Their moments stay in 32 bits (arXiv 2110.02861, section 2.3): their gradients vary too much.

    Raises:
        UserError: 8-bit moments on several ranks: bitsandbytes cannot shard and reassemble them.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    used: list[dict[str, Any]] = [group for group in groups if group["params"]]
    constants: dict[str, Any] = {"lr": options.lr, "betas": options.betas, "eps": options.eps}
    if options.kind == "adamw":
        return torch.optim.AdamW(used, fused=True, **constants)
    if any(isinstance(parameter, DTensor) for parameter in trained):
        raise UserError(
            f"optimizer.kind={options.kind} needs a single GPU; on several, set optimizer=adamw (sharded moments)"
        )
    kinds = bitsandbytes().optim
    made: torch.optim.Optimizer
    made = (kinds.AdamW8bit if options.kind == "adamw8bit" else _paged(kinds.PagedAdamW8bit))(used, **constants)
    if embeddings:
        made.mng = _exceptions(kinds.GlobalOptimManager, list(embeddings))  # type: ignore[attr-defined]
    return made


def _exceptions(kind: Any, embeddings: list[torch.nn.Parameter]) -> Any:
    """Settings of single parameters, of this optimizer alone: bitsandbytes keeps those of all runs of a process."""
    manager = kind.__new__(kind)
    manager.initialize()
    manager.override_config(embeddings, "optim_bits", 32)
    return manager


def _paged(kind: Any) -> Any:
    """A subclass that moves a checkpoint's moments into paged memory; bitsandbytes loads them into ordinary memory."""

    class Paged(kind):
        loaded = False

        def load_state_dict(self, *given: Any, **more: Any) -> None:
            super().load_state_dict(*given, **more)
            self.loaded = True

        def step(self, closure: Any = None) -> Any:
            if self.loaded:
                for parameter, state in self.state.items():
                    for name in MOMENTS.intersection(state):
                        page = self.get_state_buffer(parameter, dtype=state[name].dtype)
                        state[name] = page.copy_(state[name])
                self.loaded = False
            return super().step(closure)

    return Paged


def build_schedule(optimizer: torch.optim.Optimizer, total_steps: int, warmup: float) -> LambdaLR:
    """Build the `rate_factor` schedule over `total_steps`, with `ceil(warmup * total_steps)` warm-up steps."""
    warmup_steps = math.ceil(warmup * total_steps)
    return LambdaLR(optimizer, lambda step: rate_factor(step, warmup_steps, total_steps))


def rate_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Fraction of the peak learning rate at a step: linear from 0 to 1, then half a cosine to 0.

    Args:
        step: Optimizer steps done, from 0.
        warmup_steps: Steps of linear growth.
        total_steps: Steps of the run.
    """
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
