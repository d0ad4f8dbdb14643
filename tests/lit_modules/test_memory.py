from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig

from src.data.collate import Batch, Row, flat_batch
from src.lit_modules.loss import token_losses
from src.lit_modules.memory import GIB, Demand, cheapest, demand, device_memory, fits, require_memory
from src.lit_modules.optimizers import build_optimizer
from src.lit_modules.options import OptimizerOptions
from src.models import attention, model_config, narrow_stream, recompute_activations
from src.utils.errors import UserError
from tests.models.test_architecture import architecture

CARD = 120 * GIB


def need(name: str, **how: Any) -> Demand:
    settings = {"lines": 4, "max_length": 4096, **how}
    return demand(model_config(None, architecture(name)), **settings)


@pytest.mark.parametrize("name", ["qwen1.5b", "qwen7b", "deepseek1.3b", "deepseek7b"])
def test_weights_are_counted(name: str) -> None:
    """Against the network itself; norms and biases are left out."""
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(model_config(None, architecture(name)))
    exact = sum(parameter.numel() for parameter in network.parameters())
    assert need(name).weights == pytest.approx(exact, rel=1e-3)


def test_state_by_hand() -> None:
    """float32 weights and gradients, two float32 moments: 16 bytes; 8-bit moments: 10.1, but 16 of the
    embedding; divided over ranks."""
    seven = need("qwen7b")
    assert seven.state == 16 * seven.weights
    embedding = 152064 * 3584
    eight = 10.1 * (seven.weights - embedding) + 16 * embedding
    assert replace(seven, optimizer="adamw8bit").state == pytest.approx(eight)
    assert replace(seven, ranks=8).state == 2 * seven.weights
    cast = replace(seven, checkpointing=False).copies - replace(seven, checkpointing=False, half=False).copies
    assert cast == 2 * seven.weights  # what autocast casts in the forward pass


def test_seven_billion_fit_one_card_with_eight_bit_moments_only() -> None:
    require_memory(need("qwen7b", optimizer="adamw8bit"), CARD, gpu=True)
    with pytest.raises(
        UserError, match=r"(?s)needs about \d+ GiB of GPU memory, but only 120 GiB.*adamw8bit \(\d+ GiB"
    ):
        require_memory(need("qwen7b"), CARD, gpu=True)


def test_seven_billion_fit_an_80_gb_card_with_paged_moments() -> None:
    with pytest.raises(UserError, match=r"would fit: strategy.micro_batch=1 .*optimizer=paged_adamw8bit \(6\d GiB\)"):
        require_memory(need("qwen7b", optimizer="adamw8bit"), 80 * GIB, gpu=True)
    with pytest.raises(UserError, match=r"optimizer=paged_adamw8bit \(6\d GiB\)"):
        require_memory(need("qwen7b"), 80 * GIB, gpu=True)
    require_memory(need("qwen7b", optimizer="paged_adamw8bit"), 80 * GIB, gpu=True)


@pytest.mark.parametrize(
    ("ranks", "gib", "lines", "max_length", "smaller", "expected"),
    [
        (8, 140, 4, 4096, True, (4, False)),
        (8, 80, 4, 4096, True, (2, False)),  # four lines would recompute
        (8, 65, 4, 4096, True, (1, False)),
        (8, 80, 4, 4096, False, (4, True)),  # a pass that waits for other nodes stays large
        (8, 60, 16, 1024, True, (4, False)),
        (8, 35, 16, 1024, True, (16, True)),  # one line of 1,024 tokens would fit, but make a slow pass
        (8, 30, 16, 4096, True, (4, True)),
        (1, 40, 4, 4096, True, (1, True)),  # does not fit, and says what would
    ],
)
def test_smaller_micro_batches_come_before_recomputation(
    ranks: int, gib: int, lines: int, max_length: int, smaller: bool, expected: tuple[int, bool]
) -> None:
    seven = need("qwen7b", ranks=ranks, lines=lines, max_length=max_length)
    choice = cheapest(seven, gib * GIB, smaller=smaller)
    assert (choice.lines, choice.checkpointing) == expected
    assert fits(choice, gib * GIB) == (ranks > 1)


def test_logits_take_a_gigabyte_and_a_half() -> None:
    """2^27 elements at 12 bytes; a micro-batch with fewer takes what it has."""
    one = need("qwen7b", checkpointing=False)
    assert one.activations - replace(one, vocabulary=0).activations == 1.5 * GIB
    few = replace(one, lines=1, max_length=100)
    assert few.activations - replace(few, vocabulary=0).activations == 12 * 100 * few.vocabulary


def flash(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: None, scaling: float,
    cu_seq_lens_q: torch.Tensor, max_length_q: int, **_: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attention as `varlen` does it on a GPU; fake tensors use its kernel on any device."""
    return attention._flash_varlen(query, key, value, scaling, cu_seq_lens_q, max_length_q), None


def fake(batch: Batch) -> Batch:
    return {
        name: fake(value) if isinstance(value, dict) else torch.empty_like(value) if torch.is_tensor(value) else value
        for name, value in batch.items()
    }


def counted(config: PreTrainedConfig, lines: int, length: int, kind: str, checkpointing: bool) -> float:
    """Most bytes that two steps hold at once: every allocation is counted, none is made."""
    rows = [Row(0, np.zeros(length, np.int32), np.arange(length).clip(-100, 1)) for _ in range(lines)]
    AttentionInterface.register("counted", flash)
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="counted")
        micro = fake(flat_batch(rows))
        narrow_stream(network)
        if checkpointing:
            recompute_activations(network)
        network.train()
        optimizer, tracker = build_optimizer(network.parameters(), OptimizerOptions(1e-5, kind=kind)), MemTracker()
        tracker.track_external(network, optimizer)
        with tracker:
            for micro_batches in (1, 2):
                for _ in range(micro_batches):
                    tracker.reset_mod_stats()
                    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):  # as Lightning does
                        token_losses(network, micro).sum().backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        [peak] = tracker.get_tracker_snapshot("peak").values()
    return float(max(peak.values()))


@pytest.mark.parametrize(
    ("name", "checkpointing"),
    [
        ("qwen1.5b", True),
        ("deepseek1.3b", False),
        pytest.param("qwen1.5b", False, marks=pytest.mark.slow),
        pytest.param("deepseek1.3b", True, marks=pytest.mark.slow),
    ],
)
def test_the_estimate_is_what_a_step_allocates(name: str, checkpointing: bool) -> None:
    """Of three layers in full width, in half precision: at most 3 % below it, and a tenth above."""
    config = model_config(None, architecture(name))
    config.num_hidden_layers, config.layer_types = 3, ["full_attention"] * 3
    estimate = demand(config, 4, 2048, checkpointing=checkpointing)
    assert 0.97 < estimate.bytes / counted(config, 4, 2048, "adamw", checkpointing) < 1.1


def test_what_would_fit_is_said() -> None:
    with pytest.raises(UserError) as caught:
        require_memory(need("qwen14b", checkpointing=False), 80 * GIB, gpu=True)
    line = str(caught.value)
    assert "4 of them with trainer=fsdp strategy.micro_batch=1 model.gradient_checkpointing=true (" in line
    assert "model.adapter=lora (" in line
    assert "model.adapter=qlora (" in line
    assert "adamw8bit" not in line  # 149 GiB of state
    with pytest.raises(UserError) as caught:
        require_memory(need("qwen1.5b", half=False), 32 * GIB, gpu=False)
    assert "fsdp" not in str(caught.value)  # more processes on a CPU share its memory
    with pytest.raises(UserError, match="no setting makes it fit; use a smaller model"):
        require_memory(need("qwen14b"), GIB, gpu=False)


def test_adapters_need_little() -> None:
    full, lora = need("qwen7b"), need("qwen7b", rank_of_adapter=16)
    assert lora.trained < 0.01 * full.weights
    assert lora.state == pytest.approx(2 * full.weights, rel=0.1)
    assert replace(lora, quantized=True).state < 0.4 * lora.state


def test_this_machine_has_memory() -> None:
    assert device_memory(gpu=False) > GIB
