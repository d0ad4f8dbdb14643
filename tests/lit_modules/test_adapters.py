"""Low-rank adapters: what is trained, what is exported, and that a killed run goes on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from src.checkpoints import Checkpoint
from src.lit_modules.callbacks.weight_delta import WeightDelta
from src.lit_modules.export import export_checkpoint
from src.lit_modules.options import CheckpointOptions, OptimizerOptions
from src.merging.tensors.parent import open_parents
from src.models import LoraSettings, empty_model, load_model
from src.models.adapters import add_adapters, base_name, initial_values
from src.models.quantized import quantization
from tests.lit_modules import tiny
from tests.lit_modules.fitting import metrics, run, values

SETTINGS = LoraSettings(rank=4, alpha=8)
ROWS = {"a": tiny.rows("a", 9)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("base")
    export_checkpoint(tiny.network(tied=False), tiny.tokenizer(), place, torch.float32)
    return place


def train(network: torch.nn.Module, place: Path, steps: int = 6) -> list[float]:
    run(
        place, network, train=ROWS, validation=ROWS, optimizer=OptimizerOptions(5e-2, warmup=0.0),
        batches=tiny.batches(3, 9, steps=steps),
        checkpoints=CheckpointOptions(every_steps=2, keep=9, select="best", validate_every=3),
    )  # fmt: skip
    return [*values(place, "train/loss").values(), values(place, "val/all/loss")[steps]]


def test_only_adapters_are_trained_and_the_export_is_the_base_with_their_updates(base: Path, tmp_path: Path) -> None:
    network = load_model(base)
    add_adapters(network, SETTINGS, seed=0)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 7 * 2
    assert all("lora_" in name for name in trained)
    losses = train(network, tmp_path / "w")
    assert losses[-1] < losses[0] - 0.1
    ids = torch.arange(20)[None]
    expected = network(ids).logits
    export_checkpoint(network, tiny.tokenizer(), tmp_path / "out", torch.float32, Checkpoint(base))
    torch.testing.assert_close(load_model(tmp_path / "out")(ids).logits, expected, atol=1e-5, rtol=1e-5)
    before, after = Checkpoint(base), Checkpoint(tmp_path / "out")
    assert after.names == before.names
    moved = {name for name in before.names if not torch.equal(before.tensor(name), after.tensor(name))}
    assert moved == {name for name in before.names if name.endswith("proj.weight")}
    rank = torch.linalg.matrix_rank(after.tensor(q := "model.layers.1.self_attn.q_proj.weight") - before.tensor(q))
    assert rank == SETTINGS.rank


def test_adapters_on_the_meta_device_get_the_values_of_loaded_ones(base: Path) -> None:
    """Each rank draws whole matrices, which are small, and keeps its part."""
    loaded, empty = load_model(base), empty_model(base, dtype=torch.bfloat16)
    for network in (loaded, empty):
        add_adapters(network, SETTINGS, seed=3)
    assert all(parameter.is_meta for parameter in empty.parameters())
    held = {name: parameter.dtype for name, parameter in empty.named_parameters()}
    values = dict(loaded.named_parameters())
    assert held.keys() == values.keys()
    for name, dtype in held.items():
        drawn = initial_values(name, values[name].shape, seed=3)
        assert dtype == (torch.bfloat16 if drawn is None else torch.float32)
        assert torch.equal(values[name], Checkpoint(base).tensor(base_name(name)) if drawn is None else drawn)
    a = values["model.layers.0.self_attn.q_proj.lora_A.default.weight"]
    assert 0.9 < a.abs().max() * 32**0.5 < 1  # uniform up to the root of the reciprocal width


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_the_adapter_beside_the_export_is_what_peft_loads(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    network = load_model(base)
    add_adapters(network, SETTINGS, seed=0)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    export_checkpoint(network, tiny.tokenizer(), tmp_path / "out", torch.float32, Checkpoint(base), "org/base")
    ids = torch.arange(20)[None]
    plain = load_model(base)
    before = plain(ids).logits
    loaded = PeftModel.from_pretrained(plain, tmp_path / "out" / "adapter")
    assert not torch.allclose(loaded(ids).logits, before, atol=1e-2)
    torch.testing.assert_close(loaded(ids).logits, network.eval()(ids).logits)
    settings = loaded.peft_config["default"]
    assert (settings.base_model_name_or_path, settings.r, settings.lora_alpha) == ("org/base", 4, 8)
    parent = open_parents(base, {"a": tmp_path / "out" / "adapter"})[1]["a"]  # merge.py reads it too
    name = "model.layers.0.mlp.up_proj.weight"
    torch.testing.assert_close(parent.tensor(name), Checkpoint(tmp_path / "out").tensor(name))


def test_weight_deltas_are_those_of_the_export(base: Path, tmp_path: Path) -> None:
    """The update of an adapter, measured while it trains, against the difference of the exported weights."""
    network = load_model(base)
    add_adapters(network, SETTINGS, seed=0)
    run(
        tmp_path / "w", network, train=ROWS, validation={}, optimizer=OptimizerOptions(5e-2, warmup=0.0),
        batches=tiny.batches(3, 9, steps=2), base=Checkpoint(base), callbacks=[WeightDelta(2, {"base": str(base)})],
    )  # fmt: skip
    export_checkpoint(network, tiny.tokenizer(), tmp_path / "out", torch.float32, Checkpoint(base))
    before, after = Checkpoint(base), Checkpoint(tmp_path / "out")
    names = [name for name in before.names if "layers.1." in name and name.endswith("proj.weight")]
    updates = torch.cat([(after.tensor(name) - before.tensor(name)).flatten() for name in names])
    [row] = [row for row in metrics(tmp_path / "w") if "weights/l2/layers.1" in row]
    assert row["weights/l2/layers.1"] == pytest.approx(updates.norm().item(), rel=1e-4)
    assert [name for name in row if "/l2/" in name] == ["weights/l2/layers.0", "weights/l2/layers.1"]
    assert math.isnan(row["weights/cosine_base/layers.1"])  # the base has moved nowhere


def test_a_resumed_run_ends_the_same_and_its_checkpoints_hold_adapters_alone(base: Path, tmp_path: Path) -> None:
    whole, resumed = load_model(base), load_model(base)
    for network in (whole, resumed):
        add_adapters(network, SETTINGS, seed=0)
    train(whole, tmp_path / "w")
    folder = tmp_path / "w" / "checkpoints"
    state = torch.load(folder / "step-00000004.ckpt", weights_only=True)
    assert all("lora_" in name for name in state["state_dict"])
    (folder / "step-00000006.ckpt").unlink()
    train(resumed, tmp_path / "w")
    for (name, one), (_, other) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.filterwarnings("ignore")
def test_four_bit_weights_are_for_training_only(tmp_path: Path) -> None:
    """The export adds the adapters to the weights of the base as they were before they were quantized."""
    base = tmp_path / "base"
    export_checkpoint(tiny.network(width=128), tiny.tokenizer(), base, torch.float32)  # kernels take blocks of 64
    network = load_model(base, quantization_config=quantization(torch.float32), device_map={"": "cpu"})
    assert network.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    add_adapters(network, SETTINGS, seed=0)
    losses = train(network, tmp_path / "w")
    assert losses[-1] < 0.9 * losses[0]
    export_checkpoint(network, tiny.tokenizer(), tmp_path / "out", torch.float32, Checkpoint(base))
    module = network.model.layers[0].mlp.up_proj
    name = "model.layers.0.mlp.up_proj.weight"
    update = SETTINGS.alpha / SETTINGS.rank * module.lora_B["default"].weight @ module.lora_A["default"].weight
    torch.testing.assert_close(
        Checkpoint(tmp_path / "out").tensor(name), Checkpoint(base).tensor(name) + update.detach()
    )
