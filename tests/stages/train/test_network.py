"""Each setting of conf/model does something to the network that is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from src.data.budget import Budget
from src.lit_modules.export import export_checkpoint
from src.lit_modules.options import BatchOptions, FitOptions, OptimizerOptions, TrainerOptions
from src.models import LoraSettings, ModelSpec, Recipe, decoder_layers
from src.stages.train.network import training_network
from tests.lit_modules import tiny

SPEC = ModelSpec("m", "pocket", None, Recipe(1e-3, 64, 1, 1, steps=1), context_length=64, dtype="float32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("base")
    export_checkpoint(tiny.network(width=128), tiny.tokenizer(), place, torch.float32)
    return place


def options(packing: bool = True, precision: str = "32-true") -> FitOptions:
    batches = BatchOptions(Budget(batch_size=1, steps=1), 1, 64, packing)
    return FitOptions(OptimizerOptions(1e-3), batches, trainer=TrainerOptions(precision=precision))


def network(base: Path, packing: bool = True, precision: str = "32-true", **changes: Any) -> torch.nn.Module:
    network, _ = training_network(replace(SPEC, **changes), base, options(packing, precision))
    return network


def trained(found: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in found.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("packing", "name", "backend"),
    [
        (True, "auto", "mixmerge_varlen"),
        (False, "auto", "sdpa"),
        (True, "sdpa", "sdpa"),
        (True, "eager", "eager"),
        (False, "varlen", "mixmerge_varlen"),
    ],
)
def test_attention(base: Path, packing: bool, name: str, backend: str) -> None:
    assert network(base, packing, attention=name).config._attn_implementation == backend


@pytest.mark.parametrize("wanted", [True, False])
def test_recomputed_activations(base: Path, wanted: bool) -> None:
    layers = decoder_layers(network(base, gradient_checkpointing=wanted))
    assert {layer.gradient_checkpointing for layer in layers} == {wanted}


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)])
def test_what_flows_between_layers_is_as_wide_as_what_is_multiplied(
    base: Path, precision: str, dtype: torch.dtype
) -> None:
    found, seen = network(base, precision=precision), []
    decoder_layers(found)[1].register_forward_pre_hook(lambda module, given: seen.append(given[0].dtype))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        found(torch.arange(5)[None])
    found(torch.arange(5)[None])  # evaluated without autocast, it is float32 throughout
    assert seen == [dtype, torch.float32]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compilation(base: Path) -> None:
    assert all(layer._compiled_call_impl is not None for layer in decoder_layers(network(base, compile=True)))
    assert all(layer._compiled_call_impl is None for layer in decoder_layers(network(base)))


def test_adapters(base: Path) -> None:
    small, large = (network(base, adapter="lora", lora=LoraSettings(rank=rank)) for rank in (2, 4))
    assert 0 < trained(small) == trained(large) / 2 < trained(network(base)) / 10
    some = network(base, adapter="lora", lora=LoraSettings(rank=2, targets=("q_proj",)))
    assert all("q_proj" in name for name, parameter in some.named_parameters() if parameter.requires_grad)
    layer = network(base, adapter="lora", lora=LoraSettings(rank=2, alpha=6, dropout=0.5)).model.layers[0].mlp.up_proj
    assert (layer.scaling["default"], layer.lora_dropout["default"].p) == (3.0, 0.5)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)])
def test_frozen_weights_are_held_as_they_are_multiplied(base: Path, precision: str, dtype: torch.dtype) -> None:
    found = network(base, precision=precision, adapter="lora", dtype="bfloat16")
    kinds = {parameter.requires_grad: parameter.dtype for parameter in found.parameters()}
    assert kinds == {False: dtype, True: torch.float32}


@pytest.mark.filterwarnings("ignore")
def test_quantized_weights(base: Path) -> None:
    found = network(base, adapter="qlora")
    assert found.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    assert trained(found) > 0
