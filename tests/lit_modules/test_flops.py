from __future__ import annotations

from src.lit_modules.flops import StepFlops
from src.models import LoraSettings
from src.models.adapters import add_adapters
from tests.lit_modules import tiny


def test_operations_by_hand() -> None:
    """Two layers of width 32 with 4 heads of 8, 2 key-value heads, MLP 48, 260 tokens."""
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
    flops = StepFlops.of(tiny.network())
    assert flops == StepFlops(body=3 * 2 * layer, head=3 * 260 * 32, attention=3 * 2 * 32)
    batch = {"tokens": 100, "answer_tokens": 40, "squares": 5000}
    forward = 2 * (2 * layer * 100 + 260 * 32 * 40) + 2 * 64 * 5000
    assert flops(batch) == 3 * forward


def test_frozen_weights_have_no_gradient_to_compute() -> None:
    """Adapters of rank 4 on the seven matrices of each layer: two passes through what is frozen, three through them."""
    network = tiny.network()
    add_adapters(network, LoraSettings(rank=4, alpha=8), seed=0)
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
    adapters = 4 * ((32 + 32) * 2 + (32 + 16) * 2 + (32 + 48) * 3)
    assert StepFlops.of(network) == StepFlops(body=2 * (2 * layer + 3 * adapters), head=2 * 260 * 32, attention=3 * 64)
