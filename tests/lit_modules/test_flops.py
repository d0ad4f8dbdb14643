from __future__ import annotations

from src.lit_modules.flops import StepFlops
from tests.lit_modules import tiny


def test_operations_by_hand() -> None:
    """Two layers of width 32 with 4 heads of 8, 2 key-value heads, MLP 48, 260 tokens."""
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
    flops = StepFlops.of(tiny.network())
    assert flops == StepFlops(body=2 * layer, head=260 * 32, attention=2 * 32)
    batch = {"tokens": 100, "answer_tokens": 40, "squares": 5000}
    forward = 2 * (2 * layer * 100 + 260 * 32 * 40) + 2 * 64 * 5000
    assert flops(batch) == 3 * forward
