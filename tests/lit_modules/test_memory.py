from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from src.lit_modules.memory import GIB, Demand, demand, device_memory, require_memory
from src.models import model_config
from src.utils.errors import UserError
from tests.models.test_architecture import architecture

H200 = 139.8 * GIB


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
    """float32 weights and gradients, two float32 moments: 16 bytes; 8-bit moments: 10.1; divided over ranks."""
    seven = need("qwen7b")
    assert seven.state == 16 * seven.weights
    assert replace(seven, optimizer="adamw8bit").state == pytest.approx(10.1 * seven.weights)
    assert replace(seven, ranks=8).state == 2 * seven.weights
    assert seven.copies == 2 * seven.weights  # autocast's bfloat16 weights


def test_seven_billion_fit_one_card_with_eight_bit_moments_only() -> None:
    require_memory(need("qwen7b", optimizer="adamw8bit"), H200, "a GPU")
    with pytest.raises(
        UserError, match=r"(?s)needs about \d+ GiB of a GPU, and there are 140 GiB.*adamw8bit \(\d+ GiB"
    ):
        require_memory(need("qwen7b"), H200, "a GPU")


def test_what_would_fit_is_said() -> None:
    with pytest.raises(UserError) as caught:
        require_memory(need("qwen14b", checkpointing=False), 80 * GIB, "a GPU")
    line = str(caught.value)
    assert "8 of them with trainer=fsdp (" in line
    assert "model.adapter=lora (" in line
    assert "model.adapter=qlora (" in line
    assert "adamw8bit" not in line  # 149 GiB of state
    with pytest.raises(UserError, match="nothing of this would fit: take a smaller model"):
        require_memory(need("qwen14b"), GIB, "memory")


def test_adapters_need_little() -> None:
    full, lora = need("qwen7b"), need("qwen7b", rank_of_adapter=16)
    assert lora.trained < 0.01 * full.weights
    assert lora.state == pytest.approx(2 * full.weights, rel=0.1)
    assert replace(lora, quantised=True).state < 0.4 * lora.state


def test_this_machine_has_memory() -> None:
    assert device_memory(gpu=False) > GIB
