"""Merges of adapters that stay adapters: PEFT loads them, and computes what the full merge computes."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from src.checkpoints import Checkpoint
from src.merging.engine.adapter_merge import AdapterMerge, merge_adapters, open_adapters
from src.merging.recipe import Recipe
from src.merging.tensors.lora import LoraParent
from src.merging.tensors.lora_write import write_adapter
from src.merging.tensors.parent import open_parents
from src.utils.errors import UserError
from tests.merging.tensors.test_lora import KINDS, save_adapter, save_model
from tests.merging.tensors.test_lora_experts import TARGETS, save_moe
from tests.merging.tools import Tensors, largest_difference, merge_all, recipe

LABELS = ("codegen", "codesum")
MIXED = {  # ranks, alphas, scaling and modules that differ
    "codegen": {"target_modules": ["q_proj", "down_proj", "embed_tokens"], "alpha_pattern": {"down_proj": 3}},
    "codesum": {"target_modules": ["q_proj", "v_proj"], "r": 6, "use_rslora": True, "rank_pattern": {"v_proj": 2}},
}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    for seed, label in enumerate(LABELS, 1):
        save_adapter(root / label, save_model(root / "base"), seed, **MIXED[label])
    return root


def merged_adapter(root: Path, point: Recipe, rank: int | None, out: Path) -> AdapterMerge:
    base, adapters = open_adapters(root / "base", {label: root / label for label in LABELS})
    merge = merge_adapters(base, adapters, point, rank)
    out.mkdir()
    new = {name: update.new for name, update in merge.updates.items()}
    write_adapter(out, new, [one.adapter for one in adapters.values()], base.path, base.config, torch.float32)
    return merge


def full_merge(root: Path, point: Recipe) -> tuple[Tensors, Any]:
    base, parents = open_parents(root / "base", {label: root / label for label in LABELS})
    [merged], [outcome] = merge_all(base, parents, [point])  # type: ignore[arg-type]
    return merged, outcome


def of_adapter(root: Path, adapter: Path) -> Tensors:
    parent = LoraParent(adapter, Checkpoint(root / "base"))
    return {name: parent.tensor(name) for name in parent.names}


def loaded_by_peft(model: Any, adapter: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers about its next version
        for kind in (UserWarning, RuntimeWarning):  # of weights that are missing or strange, or patterns of no use
            warnings.simplefilter("error", kind)
        from peft import PeftModel

        return PeftModel.from_pretrained(model, adapter)


EXACT = [("linear", {"weight": 0.3}), ("task_arithmetic", {"weight": -0.2, "lambda_": 0.7, "normalize": False})]


@pytest.mark.parametrize(("name", "keys"), EXACT)
def test_a_weighted_sum_is_exact(family: Path, tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    point = recipe(name, **keys)
    merge = merged_adapter(family, point, None, tmp_path / "out")
    expected, outcome = full_merge(family, point)
    assert largest_difference(of_adapter(family, tmp_path / "out"), expected) < 1e-6
    assert merge.lost()["all"] == 0
    ours, theirs = merge.strength[-1], outcome.strength[-1]
    assert ours.merged == pytest.approx(theirs.merged, rel=1e-5)
    assert ours.parents == pytest.approx(theirs.parents, rel=1e-5)
    ranks = {name: update.new.factors.rank for name, update in merge.updates.items()}
    assert ranks["model.layers.0.self_attn.q_proj.weight"] == 4 + 6
    assert ranks["model.layers.1.self_attn.v_proj.weight"] == 2
    model = loaded_by_peft(save_model(family / "base"), tmp_path / "out")
    ids = torch.arange(12)[None]
    whole = save_model(family / "base")
    whole.load_state_dict(expected)
    assert torch.allclose(model(input_ids=ids).logits, whole(input_ids=ids).logits, atol=1e-5)
    state = model.merge_and_unload().state_dict()
    assert largest_difference({name: state[name] for name in expected}, expected) < 1e-6


def test_as_peft_concatenates_and_truncates(family: Path, tmp_path: Path) -> None:
    """PEFT's own `add_weighted_adapter`, by ranks side by side and by SVD."""
    for label in LABELS:  # it merges adapters of the same modules alone
        save_adapter(tmp_path / label, save_model(tmp_path / "base"), len(label), **KINDS["plain"])
    model = loaded_by_peft(save_model(tmp_path / "base"), tmp_path / "codegen")
    model.load_adapter(tmp_path / "codesum", "codesum")
    for kind, rank in (("cat", None), ("svd", 3)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.add_weighted_adapter(["default", "codesum"], [0.3, 0.7], kind, kind, svd_rank=rank)
        merge = merged_adapter(tmp_path, recipe("linear", weight=0.3), rank, tmp_path / kind)
        ours = LoraParent(tmp_path / kind, Checkpoint(tmp_path / "base"))
        for name, update in merge.updates.items():
            layer = model.get_submodule(f"base_model.model.{update.new.like.target}")
            factors = ours.factors(name)
            assert factors is not None
            assert float((layer.get_delta_weight(kind) - factors.product()).abs().max()) < 1e-6
        assert (merge.lost()["all"] > 0.1) == (rank is not None)


METHODS = [
    ("ties", {}), ("dare", {"density": 0.5}), ("della", {}), ("slerp", {"space": "deltas"}), ("tsv", {}),
    ("knots", {}), ("adaptive", {}), ("sce", {}), ("model_stock", {}), ("linear", {"exclude": "q_proj"}),
    ("task_arithmetic", {"match_norm": True}), ("ties", {"trim": "model"}), ("linear", {"weight": [0.2, 0.8]}),
    ("knots", {"density": [0.3, 0.9]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "keys"), METHODS)
def test_other_methods_at_full_rank(family: Path, tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    """No method of task vectors looks at the base: on a base of zeros it finds the same update."""
    point = recipe(name, **keys)
    merge = merged_adapter(family, point, 64, tmp_path / "out")
    expected, outcome = full_merge(family, point)
    assert largest_difference(of_adapter(family, tmp_path / "out"), expected) < 2e-5
    assert merge.lost()["all"] < 1e-6
    assert merge.fallbacks == [name for name in outcome.fallbacks if name in merge.updates]


def test_a_rank_keeps_the_nearest_update(family: Path, tmp_path: Path) -> None:
    point = recipe("ties", weight=0.3)
    merge = merged_adapter(family, point, 5, tmp_path / "out")
    base = Checkpoint(family / "base")
    expected, _ = full_merge(family, point)
    found = of_adapter(family, tmp_path / "out")
    squares = {"lost": 0.0, "all": 0.0}
    for name, update in merge.updates.items():
        delta = (expected[name] - base.tensor(name)).double()
        values = torch.linalg.svdvals(delta)
        assert float((found[name] - expected[name]).norm()) == pytest.approx(
            float(values[5:].norm()), rel=1e-4, abs=1e-6
        )
        assert update.lost == pytest.approx(float(values[5:].norm()), rel=1e-4, abs=1e-6)
        squares["lost"] += float(values[5:].square().sum())
        squares["all"] += float(values.square().sum())
    lost = merge.lost()
    assert lost["all"] == pytest.approx((squares["lost"] / squares["all"]) ** 0.5, rel=1e-4)
    assert list(lost) == ["embed_tokens", "layers.0", "layers.1", "all"]
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 5


@pytest.mark.parametrize("kind", ["Qwen3Moe", "GptOss"])
@pytest.mark.parametrize(("name", "rank"), [("linear", None), ("ties", 64)])
def test_stacked_experts(tmp_path: Path, kind: str, name: str, rank: int | None) -> None:
    """One adapter changes both parameters of the experts, the other only the inner one."""
    one = {**TARGETS, "target_parameters": TARGETS["target_parameters"][1:]}
    for seed, (label, settings) in enumerate(zip(LABELS, (TARGETS, one), strict=True)):
        save_adapter(tmp_path / label, save_moe(kind, tmp_path / "base"), seed, **settings)
    point = recipe(name, weight=0.3)
    merged_adapter(tmp_path, point, rank, tmp_path / "out")
    expected, _ = full_merge(tmp_path, point)
    assert largest_difference(of_adapter(tmp_path, tmp_path / "out"), expected) < 2e-5
    merged = loaded_by_peft(save_moe(kind, tmp_path / "base"), tmp_path / "out").merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    assert largest_difference(load_file(tmp_path / "merged" / "model.safetensors"), expected) < 2e-5


@pytest.mark.parametrize(
    ("name", "keys", "rank", "message"),
    [
        ("ties", {}, None, r"adapter=exact holds for weighted sums alone .*not for merge=ties .*adapter=RANK"),
        ("linear", {"exclude": "q_proj"}, None, "adapter=exact holds for weighted sums alone"),
        ("linear", {"normalize": False, "weights": {"codegen": 1, "codesum": 1}}, 8, "merge.normalize=true"),
        ("slerp", {"space": "weights"}, 8, "merge=slerp merges whole weights"),
        ("ties", {"engine": "mergekit"}, 8, "merge=ties merges whole weights"),
        ("ties", {"tokenizer": "union"}, 8, r"merge\.tokenizer=union changes the embedding"),
        ("ties", {"exclude": "nothing"}, 8, "matches no tensor"),
    ],
)
def test_merges_that_are_no_adapter(
    family: Path, tmp_path: Path, name: str, keys: dict[str, Any], rank: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        merged_adapter(family, recipe(name, **keys), rank, tmp_path / "out")


def test_the_base_is_named_by_the_hub_or_by_its_path(family: Path, tmp_path: Path) -> None:
    for label in LABELS:
        shutil.copytree(family / label, tmp_path / label)
    shutil.copytree(family / "base", tmp_path / "base")
    named = []
    for number, (left, right) in enumerate([("org/name", "org/name"), ("org/name", "org/other"), ("models/x/y",) * 2]):
        for label, name in zip(LABELS, (left, right), strict=True):
            file = tmp_path / label / "adapter_config.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": name}))
        merged_adapter(tmp_path, recipe("linear"), None, tmp_path / f"out{number}")
        content = json.loads((tmp_path / f"out{number}" / "adapter_config.json").read_text())
        named.append(content["base_model_name_or_path"])
    assert named == ["org/name", str(tmp_path / "base"), str(tmp_path / "base")]


def test_factors_that_overflow(family: Path, tmp_path: Path) -> None:
    base, adapters = open_adapters(family / "base", {label: family / label for label in LABELS})
    merge = merge_adapters(base, adapters, recipe("task_arithmetic", lambda_=1e9), None)
    new = {name: update.new for name, update in merge.updates.items()}
    with pytest.raises(UserError, match=r"\.lora_.* overflows float16; set merge\.dtype=float32"):
        write_adapter(tmp_path, new, [one.adapter for one in adapters.values()], base.path, base.config, torch.float16)


def test_adapters_that_do_not_become_one(family: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"specialists\.codegen=.*base is a full checkpoint; .*without adapter="):
        open_adapters(family / "base", {"codegen": family / "base"})
    whole = KINDS["embedding, bias and a whole head"]
    save_adapter(tmp_path / "whole", save_model(tmp_path / "base"), 1, **whole)
    with pytest.raises(UserError, match=r"\(codesum\) also holds whole tensors .*lm_head.weight"):
        open_adapters(tmp_path / "base", {"codegen": family / "codegen", "codesum": tmp_path / "whole"})
