"""Oracles: hand-worked norms, and numpy/scipy on the concatenated deltas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import pearsonr

from src.checkpoints import Checkpoint
from src.diagnostics.weight_diagnosis import diagnose_weights
from src.utils.errors import UserError

NAMES = {
    "model.embed_tokens.weight": (17, 6),
    "model.layers.0.self_attn.q_proj.weight": (6, 6),
    "model.layers.0.self_attn.q_proj.bias": (6,),
    "model.layers.0.mlp.up_proj.weight": (9, 6),
    "model.layers.1.self_attn.q_proj.weight": (6, 6),
    "model.layers.1.input_layernorm.weight": (6,),
    "model.norm.weight": (6,),
}


def _write(directory: Path, tensors: dict[str, torch.Tensor]) -> Checkpoint:
    directory.mkdir(parents=True)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text('{"model_type": "qwen2"}')
    return Checkpoint(directory)


def _random(seed: int, scale: float, around: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise = {name: scale * torch.randn(shape, generator=generator) for name, shape in NAMES.items()}
    return noise if around is None else {name: around[name] + noise[name] for name in NAMES}


@pytest.fixture(scope="module")
def tensors():
    base = _random(0, 1.0)
    codegen = _random(1, 0.01, base)
    return {"base": base, "codegen": codegen, "codesum": _random(2, 0.003, codegen)}


@pytest.fixture(scope="module")
def checkpoints(tensors, tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: _write(root / name, value) for name, value in tensors.items()}


@pytest.fixture(scope="module")
def diagnosis(checkpoints):
    return diagnose_weights(
        checkpoints["base"], {name: checkpoints[name] for name in ("codegen", "codesum")}, block_elements=13
    )


def _delta(tensors, variant, name) -> np.ndarray:
    return (tensors[variant][name].double() - tensors["base"][name].double()).flatten().numpy()


def _row(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def _layer(name: str) -> str:
    return next(layer for layer in ("layers.0", "layers.1", "embed_tokens", "norm") if f".{layer}." in name)


def test_hand_worked_norms(tmp_path):
    """Deltas of norm 5 and 13 in one layer, and a bias of norm 84: mean 9, root of squares with the bias sqrt(7250)."""
    names = [
        f"model.layers.0.{part}" for part in ("self_attn.q_proj.weight", "mlp.up_proj.weight", "self_attn.q_proj.bias")
    ]
    base = _write(tmp_path / "base", {name: torch.full((2,), 2.0) for name in names})
    moved = zip(names, ([3.0, 4.0], [5.0, 12.0], [0.0, 84.0]), strict=True)
    variant = _write(tmp_path / "variant", {name: 2 + torch.tensor(delta) for name, delta in moved})
    row = _row(diagnose_weights(base, {"codegen": variant}).layers, layer="layers.0", kind="all")
    assert row.l2_mean == pytest.approx((5 + 13) / 2)
    assert row.l2 == pytest.approx((25 + 169 + 84**2) ** 0.5)
    assert row.base_l2 == pytest.approx(24**0.5)
    assert row.relative_l2 == pytest.approx(row.l2 / 24**0.5)
    assert (row.tensors, row.elements) == (3, 6)


@pytest.mark.parametrize("variant", ["codegen", "codesum"])
@pytest.mark.parametrize("layer", ["embed_tokens", "layers.0", "layers.1", "norm", "all"])
def test_norms_equal_numpys(diagnosis, tensors, variant, layer):
    row = _row(diagnosis.layers, variant=variant, layer=layer, kind="all")
    inside = [name for name in NAMES if layer in ("all", _layer(name))]
    norms = {name: np.linalg.norm(_delta(tensors, variant, name)) for name in inside}
    base = np.concatenate([tensors["base"][name].double().flatten().numpy() for name in inside])
    assert row.l2_mean == pytest.approx(np.mean([norms[name] for name in inside if name.endswith("weight")]), rel=1e-12)
    assert row.l2 == pytest.approx(np.linalg.norm(list(norms.values())), rel=1e-12)
    assert row.base_l2 == pytest.approx(np.linalg.norm(base), rel=1e-12)


@pytest.mark.parametrize("layer", ["embed_tokens", "layers.0", "layers.1", "norm", "all"])
def test_correlations_equal_scipys_on_concatenated_deltas(diagnosis, tensors, layer):
    row = _row(diagnosis.correlations, layer=layer, kind="all")
    inside = [name for name in NAMES if layer in ("all", _layer(name)) and name.endswith("weight")]
    pair = [[_delta(tensors, variant, name) for name in inside] for variant in ("codegen", "codesum")]
    first, second = (np.concatenate(deltas) for deltas in pair)
    cut = [[np.where(abs(d) < 0.3 * abs(d).max(), 0, d) for d in deltas] for deltas in pair]
    assert row.pearson == pytest.approx(pearsonr(first, second)[0], abs=1e-12)
    assert row.pearson_thresholded == pytest.approx(pearsonr(*map(np.concatenate, cut))[0], abs=1e-12)
    assert row.cosine == pytest.approx(first @ second / np.linalg.norm(first) / np.linalg.norm(second), abs=1e-12)
    assert row.sign_conflict == pytest.approx(np.mean(np.sign(first) != np.sign(second)))


def test_threshold_zero_is_the_plain_correlation(checkpoints):
    variants = {name: checkpoints[name] for name in ("codegen", "codesum")}
    table = diagnose_weights(checkpoints["base"], variants, threshold=0).correlations
    assert np.allclose(table.pearson, table.pearson_thresholded, atol=1e-12)


def test_block_size_changes_nothing(checkpoints, diagnosis):
    variants = {name: checkpoints[name] for name in ("codegen", "codesum")}
    whole = diagnose_weights(checkpoints["base"], variants)
    assert np.allclose(whole.layers.l2, diagnosis.layers.l2, rtol=1e-13)
    assert np.allclose(whole.correlations.iloc[:, 4:], diagnosis.correlations.iloc[:, 4:], atol=1e-13)


def test_rows_per_module_kind_and_in_reading_order(diagnosis):
    table = diagnosis.layers[diagnosis.layers.variant == "codegen"]
    assert list(dict.fromkeys(table.layer)) == ["embed_tokens", "layers.0", "layers.1", "norm", "all"]
    assert list(table[table.layer == "layers.0"].kind) == ["q", "up", "all"]
    assert list(table[table.layer == "all"].kind) == ["embeddings", "q", "up", "norm", "all"]
    queries = _row(table, layer="all", kind="q")
    parts = [_row(table, layer=layer, kind="q").l2 for layer in ("layers.0", "layers.1")]
    assert queries.l2 == pytest.approx(np.hypot(*parts))


def test_half_precision_is_read_exactly(tmp_path):
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16)
    base = _write(tmp_path / "base", {"model.norm.weight": values})
    variant = _write(tmp_path / "variant", {"model.norm.weight": values + torch.tensor(0.5, dtype=torch.bfloat16)})
    assert _row(diagnose_weights(base, {"v": variant}).layers, layer="all", kind="all").l2 == 1.0


def test_every_pair_once(checkpoints):
    names = ("codegen", "codesum", "base")
    table = diagnose_weights(checkpoints["base"], {name: checkpoints[name] for name in names}).correlations
    pairs = list(dict.fromkeys(zip(table["first"], table["second"], strict=True)))
    assert pairs == [("codegen", "codesum"), ("codegen", "base"), ("codesum", "base")]
    assert table[table["second"] == "base"].pearson.isna().all()  # the base has not moved: nothing to correlate


def test_one_variant_has_no_pairs(checkpoints):
    assert diagnose_weights(checkpoints["base"], {"codegen": checkpoints["codegen"]}).correlations.empty


def test_other_tensors_are_listed(checkpoints, tmp_path):
    other = _write(tmp_path / "other", {"model.norm.weight": torch.zeros(7), "extra.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"mix does not have the tensors of the base.*is missing") as caught:
        diagnose_weights(checkpoints["base"], {"mix": other})
    assert "(and 3 more)" in str(caught.value)
    same_names = _write(tmp_path / "shape", {name: torch.zeros(1) for name in NAMES})
    with pytest.raises(UserError, match=r"model.embed_tokens.weight has shape \[1\], expected \[17, 6\]"):
        diagnose_weights(checkpoints["base"], {"mix": same_names})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(tensors, checkpoints, tmp_path, value):
    broken = {name: tensor.clone() for name, tensor in tensors["codegen"].items()}
    broken["model.norm.weight"][3] = value
    with pytest.raises(UserError, match=r"mix or its base .* NaN or Inf in tensor model.norm.weight"):
        diagnose_weights(checkpoints["base"], {"mix": _write(tmp_path / "broken", broken)})


def test_nothing_to_compare(checkpoints):
    with pytest.raises(UserError, match="at least one variant"):
        diagnose_weights(checkpoints["base"], {})


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_threshold_range(checkpoints, threshold):
    with pytest.raises(UserError, match="threshold must be in 0-1, got"):
        diagnose_weights(checkpoints["base"], {"codegen": checkpoints["codegen"]}, threshold=threshold)


class Recorder(Checkpoint):
    """Notes how many elements every read takes."""

    reads: list[int]

    def flat(self, name, start, stop):
        self.reads.append(stop - start)
        return super().flat(name, start, stop)

    def tensor(self, name):
        raise AssertionError("a whole tensor was read")


def test_only_blocks_are_read(checkpoints):
    base, variant = Recorder(checkpoints["base"].path), Recorder(checkpoints["codegen"].path)
    base.reads, variant.reads = [], []
    diagnose_weights(base, {"codegen": variant}, block_elements=13)
    assert max(base.reads + variant.reads) == 13
    elements = sum(int(np.prod(shape)) for shape in NAMES.values())
    assert sum(base.reads) == sum(variant.reads) == 2 * elements - 6  # twice, for the threshold; the bias of 6 once
