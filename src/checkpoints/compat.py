"""One comparison of two sets of weights, for merging, diagnostics and models that take weights in place."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from src.checkpoints.layout import TensorInfo


def tensor_differences(
    expected: Mapping[str, TensorInfo],
    found: Mapping[str, TensorInfo],
    owner: str,
    dtypes: bool = True,
    any_dtype: Collection[str] = (),
) -> list[str]:
    """List missing, extra, misshapen and differently typed tensors in the order of their names.

    Args:
        expected: Table of the checkpoint or model that sets the terms.
        found: Table to compare with it.
        owner: Whose table `expected` is, for example "the base".
        dtypes: False where values are cast anyway.
        any_dtype: Names whose dtype does not count, for example because their values are computed.
    """
    differences = []
    for name in sorted({*expected, *found}):
        want, got = expected.get(name), found.get(name)
        if got is None:
            differences.append(f"{name} is missing")
        elif want is None:
            differences.append(f"{name} is not in {owner}")
        elif got.shape != want.shape:
            differences.append(f"{name} has shape {list(got.shape)}, expected {list(want.shape)}")
        elif dtypes and got.dtype != want.dtype and name not in any_dtype:
            differences.append(f"{name} has dtype {_short(got.dtype)}, expected {_short(want.dtype)}")
    return differences


def model_differences(state: Mapping[str, torch.Tensor], found: Mapping[str, TensorInfo]) -> list[str]:
    """List the reasons why weights cannot be loaded into a model in memory; they are cast to its dtypes.

    Args:
        state: `model.state_dict(keep_vars=True)`.
        found: Table of the weights. A tied tensor may come under either of its names, or under both.
    """
    filled = {state[name].data_ptr() for name in found if name in state}
    expected = {
        name: TensorInfo(tuple(tensor.shape), tensor.dtype)
        for name, tensor in state.items()
        if name in found or tensor.data_ptr() not in filled
    }
    return tensor_differences(expected, found, "the model", dtypes=False)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
