"""Oracles: hand-worked norms, and numpy/scipy on the concatenated deltas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import pearsonr

from src.checkpoints import Checkpoint
from src.diagnostics.block_sums import TorchBlockSums
from src.diagnostics.numba_block_sums import NumbaBlockSums
from src.diagnostics.weight_diagnosis import DiagnosisSettings, diagnose_weights
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


def in_blocks(ops):
    ops.block = 13
    return ops


@pytest.fixture(scope="module", params=[TorchBlockSums, NumbaBlockSums])
def diagnosis(checkpoints, request):
    variants = {name: checkpoints[name] for name in ("codegen", "codesum")}
    return diagnose_weights(checkpoints["base"], variants, ops=in_blocks(request.param()))


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
    first_cut, second_cut = (np.concatenate([np.where(abs(d) < 0.1 * abs(d).max(), 0, d) for d in ds]) for ds in pair)
    norms = np.linalg.norm(first_cut) * np.linalg.norm(second_cut)
    assert row["pearson_0.1"] == pytest.approx(pearsonr(first_cut, second_cut)[0], abs=1e-12)
    assert row["cosine_0.1"] == pytest.approx(first_cut @ second_cut / norms, abs=1e-12)


def _truncated(delta: np.ndarray) -> np.ndarray:
    return (abs(delta).astype(np.float32).view(np.uint32) >> 16 << 16).view(np.float32)


@pytest.mark.parametrize("layer", ["embed_tokens", "layers.0", "all"])
def test_top_overlap_counts_the_largest_of_each_tensor(diagnosis, tensors, layer):
    inside = [name for name in NAMES if layer in ("all", _layer(name)) and name.endswith("weight")]
    common = smaller = 0
    for name in inside:
        sizes = [_truncated(_delta(tensors, variant, name)) for variant in ("codegen", "codesum")]
        marks = [size >= np.sort(size)[-max(1, round(0.01 * len(size)))] for size in sizes]
        common += (marks[0] & marks[1]).sum()
        smaller += min(mark.sum() for mark in marks)
    assert _row(diagnosis.correlations, layer=layer, kind="all").top_overlap == pytest.approx(common / smaller)


def test_rms_is_the_norm_by_element(diagnosis):
    row = _row(diagnosis.layers, variant="codegen", layer="layers.0", kind="all")
    assert row.rms == pytest.approx(row.l2 / 96**0.5)
    assert row.elements == 36 + 6 + 54


def test_signs_count_only_where_both_moved(tmp_path):
    """Signs ++ +- -- -0 00: three elements where both are non-zero, one of them in conflict."""
    name = "model.layers.0.mlp.up_proj.weight"
    moved = {"a": [1.0, 2, -3, -4, 0], "b": [5, -6, -7, 0, 0]}
    base = _write(tmp_path / "base", {name: torch.zeros(5)})
    variants = {key: _write(tmp_path / key, {name: torch.tensor(value)}) for key, value in moved.items()}
    for ops in (TorchBlockSums(), NumbaBlockSums()):
        found = diagnose_weights(base, variants, ops=ops)
        row = _row(found.correlations, layer="all", kind="all")
        assert row.sign_conflict == pytest.approx(1 / 3)
        assert row.top_overlap == 0  # the largest are -4 and -7, at different places


def test_no_common_element_gives_nan(tmp_path):
    name = "model.norm.weight"
    base = _write(tmp_path / "base", {name: torch.zeros(2)})
    moved = {"a": [1.0, 0], "b": [0.0, 1]}
    variants = {key: _write(tmp_path / key, {name: torch.tensor(value)}) for key, value in moved.items()}
    assert np.isnan(_row(diagnose_weights(base, variants).correlations, layer="all", kind="all").sign_conflict)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float64])
def test_both_backends_agree_on_every_dtype(tensors, tmp_path, stored):
    """Mixed dtypes too: the base in float32."""
    base = _write(tmp_path / "base", tensors["base"])
    cast = {key: {name: one.to(stored) for name, one in tensors[key].items()} for key in ("codegen", "codesum")}
    variants = {key: _write(tmp_path / key, value) for key, value in cast.items()}
    same = {"base": _write(tmp_path / "same", {name: one.to(stored) for name, one in tensors["base"].items()})}
    for start in (base, same["base"]):
        torch_found, numba_found = (
            diagnose_weights(start, variants, ops=ops()) for ops in (TorchBlockSums, NumbaBlockSums)
        )
        for table in ("layers", "correlations", "chance"):
            one, other = (getattr(found, table).select_dtypes("number") for found in (torch_found, numba_found))
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def test_share_of_each_specialist_in_a_merge(tmp_path):
    """Deltas (3, 0) and (3, 4), merge 0.5 a + 0.25 b + something orthogonal in a third element."""
    name = "model.layers.0.mlp.up_proj.weight"
    moved = {"a": [3.0, 0, 0], "b": [3.0, 4, 0], "merge": [2.25, 1, 2]}
    base = _write(tmp_path / "base", {name: torch.zeros(3)})
    variants = {key: _write(tmp_path / key, {name: torch.tensor(value)}) for key, value in moved.items()}
    table = diagnose_weights(base, variants, specialists=["a", "b"], merges=["merge"]).survival
    a, b = (_row(table, specialist=key, layer="all", kind="all") for key in ("a", "b"))
    assert (a.share, b.share) == pytest.approx((2.25 / 3, (6.75 + 4) / 25))
    assert (a.coefficient, b.coefficient) == pytest.approx((0.5, 0.25))
    assert a.unexplained == b.unexplained == pytest.approx(4 / (2.25**2 + 1 + 4))


def test_leading_subspaces_of_rank_one_updates(tmp_path):
    """Equal input directions and orthogonal output directions: overlap 1/2; the update of rank one has rank 1."""
    name = "model.layers.0.mlp.up_proj.weight"
    rows = torch.eye(4)
    moved = {"a": torch.outer(rows[0], rows[2]), "b": torch.outer(rows[1], rows[2]), "none": torch.zeros(4, 4)}
    base = _write(tmp_path / "base", {name: torch.ones(4, 4)})
    variants = {key: _write(tmp_path / key, {name: 1 + value}) for key, value in moved.items()}
    found = diagnose_weights(base, variants, DiagnosisSettings(spectra_rank=1))
    pair = _row(found.correlations, first="a", second="b", layer="all", kind="all")
    assert (pair.subspace_overlap, pair.subspace_cosine) == pytest.approx((0.5, 0.5))
    ranks = found.layers[(found.layers.layer == "all") & (found.layers.kind == "all")]
    assert list(ranks.effective_rank) == pytest.approx([1, 1, 0])
    assert _row(found.chance, first="a", second="b", layer="all", kind="all", metric="subspace_overlap").chance == 0.25
    without = diagnose_weights(base, variants, DiagnosisSettings(spectra_rank=0))
    assert without.correlations.subspace_overlap.isna().all()
    assert without.layers.effective_rank.isna().all()


def test_threshold_zero_is_the_plain_correlation(checkpoints):
    variants = {name: checkpoints[name] for name in ("codegen", "codesum")}
    table = diagnose_weights(checkpoints["base"], variants, DiagnosisSettings(0.0)).correlations
    assert np.allclose(table.pearson, table.pearson_thresholded, atol=1e-12)


def test_block_size_changes_nothing(checkpoints, diagnosis):
    variants = {name: checkpoints[name] for name in ("codegen", "codesum")}
    whole = diagnose_weights(checkpoints["base"], variants)
    assert np.allclose(whole.layers.l2, diagnosis.layers.l2, rtol=1e-13)
    assert np.allclose(whole.correlations.iloc[:, 4:], diagnosis.correlations.iloc[:, 4:], atol=1e-13, equal_nan=True)


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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", -0.1),
        ("threshold", 1.1),
        ("top_share", 0.0),
        ("spectra_rank", -1),
        ("extra_thresholds", [0.1, 2.0]),
    ],
)
def test_ranges_of_settings(key, value):
    with pytest.raises(UserError, match=key):
        DiagnosisSettings(**{key: value})


class Recorder(Checkpoint):
    """Notes how many elements every read takes."""

    reads: list[int]

    def read_into(self, name, start, out):
        self.reads.append(out.numel())
        super().read_into(name, start, out)

    def tensor(self, name):
        raise AssertionError("a whole tensor was read")


def test_only_blocks_are_read(checkpoints):
    base, variant = Recorder(checkpoints["base"].path), Recorder(checkpoints["codegen"].path)
    base.reads, variant.reads = [], []
    diagnose_weights(base, {"codegen": variant}, DiagnosisSettings(spectra_rank=0), ops=in_blocks(TorchBlockSums()))
    assert max(base.reads + variant.reads) == 13
    elements = sum(int(np.prod(shape)) for shape in NAMES.values())
    assert sum(base.reads) == sum(variant.reads) == 2 * elements - 6  # twice, for the threshold; the bias of 6 once
