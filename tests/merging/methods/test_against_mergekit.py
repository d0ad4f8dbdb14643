"""The reference library, mergekit 0.1.5: its operators on tensors, and its whole pipeline on Qwen2 checkpoints."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint, copy_side_files
from src.merging.backend.counter_rng import stream_seed, uniform
from tests.merging.tools import (
    Tensors,
    identical,
    largest_difference,
    merge_all,
    merge_one,
    random_family,
    recipe,
    write_family,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mergekit.merge_methods.api import merge_tensors

LABELS = ("codegen", "codesum", "bugfix")
NAMES = {"dare": "dare_linear"}
METHODS = [
    "linear", "task_arithmetic", "ties", "dare", "dare_ties", "della", "della_linear", "breadcrumbs",
    "breadcrumbs_ties",
]  # fmt: skip


def reference(
    name: str,
    base: Tensors,
    specialists: list[Tensors],
    weights: list[float],
    monkeypatch: pytest.MonkeyPatch,
    **keys: Any,
) -> Tensors:
    """Merge every tensor with mergekit, with its Bernoulli draws replaced with ours."""
    merged = {}
    for tensor in base:
        calls = iter(LABELS)

        def drawn(probabilities: torch.Tensor, tensor: str = tensor, calls: Any = calls) -> torch.Tensor:
            seed = stream_seed(0, tensor, next(calls))
            return (uniform(seed, 0, probabilities.numel()).reshape(probabilities.shape) < probabilities).float()

        monkeypatch.setattr(torch, "bernoulli", drawn)
        parents = [specialist[tensor] for specialist in specialists]
        if name == "linear":
            merged[tensor] = merge_tensors(parents, "linear", parameters={"weight": weights, **keys})
        else:
            parameters = {"weight": weights, **keys}
            merged[tensor] = merge_tensors(
                [base[tensor], *parents], NAMES.get(name, name), parameters=parameters, base_index=0
            )
        monkeypatch.undo()
    return merged


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    base, specialists = random_family(count)
    weights = [0.3, 0.5, 0.2][:count]
    one = recipe(name, weights=dict(zip(LABELS, weights, strict=False)))
    sparse = name not in ("linear", "task_arithmetic")
    keys = {"density": 0.5} if sparse else {}
    if name.startswith("della"):
        keys |= {"epsilon": 0.1}
    ours = merge_one(tmp_path, base, specialists, one)
    theirs = reference(name, base, specialists, weights, monkeypatch, **keys)
    if name.startswith(("dare", "della")):
        assert largest_difference(ours, theirs) < 5e-7  # their sum |D| is float32: the factor differs in its last bits
    else:
        assert identical(ours, theirs)


@pytest.mark.parametrize("name", ["dare", "dare_ties", "della", "della_linear"])
def test_random_methods_to_the_last_bit_without_rescaling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    base, specialists = random_family()
    ours = merge_one(tmp_path, base, specialists, recipe(name, weight=0.3, rescale="none", normalize=True, lambda_=0.8))
    keys: dict[str, Any] = {"density": 0.5, "rescale": False, "normalize": True, "lambda": 0.8}
    if name.startswith("della"):
        keys["epsilon"] = 0.1
    assert identical(ours, reference(name, base, specialists, [0.3, 0.7], monkeypatch, **keys))


def stable_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let mergekit break ties by position; torch's default sort leaves them in any order."""
    argsort, sort = torch.argsort, torch.sort
    monkeypatch.setattr(torch, "argsort", lambda x, descending: argsort(x, descending=descending, stable=True))
    monkeypatch.setattr(torch, "sort", lambda x, descending: sort(x, descending=descending, stable=True))


@pytest.mark.parametrize("density", [0.1, 0.2, 0.4, 0.5])
@pytest.mark.parametrize("name", ["ties", "breadcrumbs"])
def test_exactly_k_are_kept_where_magnitudes_tie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, density: float
) -> None:
    """Updates of a few ulps of bfloat16: every selection cuts through elements of equal magnitude."""
    base, specialists = random_family(dtype=torch.bfloat16)
    exact = [{name: tensor.float() for name, tensor in parent.items()} for parent in (base, *specialists)]
    stable_sorts(monkeypatch)
    theirs = {
        tensor: merge_tensors(
            [parent[tensor] for parent in exact],
            name,
            parameters={"weight": [0.3, 0.7], "density": density},
            base_index=0,
        )
        for tensor in exact[0]
    }
    monkeypatch.undo()
    [ours], [outcome] = merge_all(
        *write_family(tmp_path, exact[0], exact[1:]), [recipe(name, weight=0.3, density=density)]
    )
    assert identical(ours, theirs)
    assert outcome.strength[-1].density == pytest.approx({"codegen": density, "codesum": density}, abs=2e-4)


def test_the_realized_density_counts_what_is_not_zero(tmp_path: Path) -> None:
    """Half of the updates are zero: whatever is asked above 0.5, half is kept."""
    base = {"x": torch.zeros(10_000)}
    update = {"x": torch.arange(10_000).remainder(2).float()}
    points = [recipe("ties", density=density) for density in (0.2, 0.8)] + [recipe("linear"), recipe("dare")]
    _, outcomes = merge_all(*write_family(tmp_path, base, [update, update]), points)
    found = [outcome.strength[-1].density for outcome in outcomes]
    assert [one.get("codegen") for one in found[:3]] == [0.2, 0.5, None]
    assert found[3]["codesum"] == pytest.approx(0.25, abs=0.01)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied two-layer Qwen2 and two fine-tunes of it, bfloat16."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    root = tmp_path_factory.mktemp("qwen")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, dtype=torch.bfloat16,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).bfloat16()
    model.save_pretrained(root / "base")
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for label in LABELS[:2]:
        for name, tensor in model.state_dict().items():
            if name != "lm_head.weight":
                tensor.copy_(start[name] + torch.randn(tensor.shape) * 0.01)
        model.save_pretrained(root / label)
    return root


@pytest.mark.parametrize("name", ["linear", "task_arithmetic", "ties"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_whole_pipeline(qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str) -> None:
    """`mergekit-yaml`'s own code on Qwen2 checkpoints, asked for float32 arithmetic as ours is."""
    stable_sorts(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mergekit.config import MergeConfiguration
        from mergekit.merge import run_merge
        from mergekit.options import MergeOptions

        models = [
            {
                "model": str(qwen / label),
                "parameters": {"weight": weight} | ({"density": 0.5} if name == "ties" else {}),
            }
            for label, weight in zip(LABELS, (0.3, 0.7), strict=False)
        ]
        config: dict[str, Any] = {"merge_method": name, "models": models, "dtype": "float32", "out_dtype": dtype}
        if name != "linear":
            config["base_model"] = str(qwen / "base")
        run_merge(
            MergeConfiguration.model_validate(config), str(tmp_path), MergeOptions(copy_tokenizer=False, quiet=True)
        )
    specialists = {label: Checkpoint(qwen / label) for label in LABELS[:2]}
    [ours], _ = merge_all(Checkpoint(qwen / "base"), specialists, [recipe(name, weight=0.3, dtype=dtype)])
    written = Checkpoint(tmp_path)
    theirs = {tensor: written.tensor(tensor) for tensor in written.names}
    assert ours.keys() == theirs.keys()
    assert identical(ours, theirs)


def test_transformers_loads_a_merge(qwen: Path, tmp_path: Path) -> None:
    from transformers import Qwen2ForCausalLM

    from src.merging.engine.grid import MergeRequest, merge_grid
    from src.merging.engine.outputs import ToDirectory

    specialists = {label: Checkpoint(qwen / label) for label in LABELS[:2]}
    base = Checkpoint(qwen / "base")
    [outcome] = merge_grid(base, specialists, [MergeRequest(recipe("linear", weight=1.0), ToDirectory(tmp_path))])
    assert outcome.error is None
    copy_side_files(base.path, tmp_path)
    merged = Qwen2ForCausalLM.from_pretrained(tmp_path).state_dict()
    codegen = Qwen2ForCausalLM.from_pretrained(qwen / "codegen").state_dict()
    assert all(torch.equal(merged[name], codegen[name]) for name in codegen)
