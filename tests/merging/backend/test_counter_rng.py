"""The random numbers: the published sequence, its distribution, and its indifference to how it is cut."""

from __future__ import annotations

import math

import torch

from src.merging.backend.counter_rng import stream_seed, uniform


def test_is_splitmix64() -> None:
    """First outputs for seed 1234567, as published with the reference implementation."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    expected = [(value >> 40) * 2.0**-24 for value in published]
    assert uniform(1234567, 0, 4).tolist() == expected


def test_any_part_of_a_stream() -> None:
    whole = uniform(5, 0, 1000)
    assert torch.equal(torch.cat([uniform(5, 0, 1), uniform(5, 1, 700), uniform(5, 700, 1000)]), whole)


def test_is_uniform() -> None:
    drawn = uniform(stream_seed(0, "x", "codegen"), 0, 1_000_000)
    counts = torch.histc(drawn, bins=100, min=0, max=1)
    chi_square = float(((counts - 10_000) ** 2 / 10_000).sum())
    assert abs(chi_square - 99) < 5 * math.sqrt(2 * 99)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1


def test_streams_are_independent() -> None:
    streams = [uniform(stream_seed(seed, name, who), 0, 200_000) for seed in (0, 1) for name in "ab" for who in "xy"]
    correlation = torch.corrcoef(torch.stack(streams)) - torch.eye(8)
    assert float(correlation.abs().max()) < 5 / math.sqrt(200_000)
    neighbors = torch.corrcoef(torch.stack([streams[0][:-1], streams[0][1:]]))
    assert abs(float(neighbors[0, 1])) < 5 / math.sqrt(200_000)
