"""A key/value cache that is updated in place. Shapes: B rows, H heads, T tokens, D head size."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import DynamicCache, DynamicLayer

GROWTH = 64  # tokens of spare room: one copy of the cache per 64 tokens instead of one per token


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer in buffers with spare room.

    transformers' `DynamicLayer` concatenates, which copies the whole cache for every token; this class copies it once
    per `GROWTH` tokens. `keys` and `values` are views of the filled part (BHTD).
    """

    buffers: tuple[torch.Tensor, torch.Tensor]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values of new tokens (BHTD) and return all of them."""
        filled = self.get_seq_length()
        needed = filled + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.buffers = (_room(key_states, needed), _room(value_states, needed))
        elif needed > self.buffers[0].shape[-2]:
            self.buffers = (_grown(self.buffers[0], filled, needed), _grown(self.buffers[1], filled, needed))
        self.buffers[0][:, :, filled:needed] = key_states
        self.buffers[1][:, :, filled:needed] = value_states
        return self._show(needed)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows (indices into B)."""
        filled = self.get_seq_length()
        self.buffers = (self.buffers[0].index_select(0, indices), self.buffers[1].index_select(0, indices))
        self._show(filled)

    def _show(self, filled: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = self.buffers[0][:, :, :filled], self.buffers[1][:, :, :filled]
        return self.keys, self.values


def keep_rows(cache: DynamicCache, rows: torch.Tensor) -> None:
    """Keep these rows (indices into B) in all layers."""
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer), "recurrent layers cannot drop rows"
        layer.batch_select_indices(rows)


def growing_cache(config: PreTrainedConfig) -> DynamicCache:
    """A cache whose full-attention layers are `GrowingLayer`s; other layer types keep transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _room(states: torch.Tensor, needed: int) -> torch.Tensor:
    rows, heads, _, size = states.shape
    return states.new_empty(rows, heads, needed + GROWTH, size)


def _grown(buffer: torch.Tensor, filled: int, needed: int) -> torch.Tensor:
    room = _room(buffer, needed)
    room[:, :, :filled] = buffer[:, :, :filled]
    return room
