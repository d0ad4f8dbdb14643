"""Uniform random numbers by position: the same in any order, on any thread, on CPU and GPU.

The generator is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014; passes BigCrush): element i of a stream is a hash of
seed + (i + 1) * golden ratio, so any part of a stream can be drawn without the rest.
"""

from __future__ import annotations

import torch

from src.utils.seeding import derive_seed

GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def stream_seed(seed: int, tensor: str, specialist: str) -> int:
    """Seed of the stream that decides which elements of a specialist's tensor are dropped.

    It does not depend on the method: with the same seed, DARE and DELLA use the same numbers, which makes their
    difference less noisy.
    """
    return derive_seed(seed, "mask", tensor, specialist)


def uniform(seed: int, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Elements [start, stop) of a stream of uniform numbers in [0, 1), float32, multiples of 2**-24.

    Args:
        seed: Of the stream, from `stream_seed`.
        start: First position.
        stop: Position after the last.
        device: Device of the result; the values do not depend on it.
    """
    state = torch.arange(start + 1, stop + 1, dtype=torch.int64, device=device)
    state = state.mul_(_signed(GOLDEN)).add_(_signed(seed))
    state = state.bitwise_xor_(_shift(state, 30)).mul_(_signed(MIX_1))
    state = state.bitwise_xor_(_shift(state, 27)).mul_(_signed(MIX_2))
    state = state.bitwise_xor_(_shift(state, 31))
    return _shift(state, 40).float().mul_(2.0**-24)


def _signed(value: int) -> int:
    """The 64-bit pattern of `value` as torch's int64, whose products wrap around."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _shift(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift to the right."""
    return (values >> bits).bitwise_and_((1 << (64 - bits)) - 1)
