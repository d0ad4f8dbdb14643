"""Fisher-weighted merging and RegMean, and the statistics that they need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from src.checkpoints import write_checkpoint
from src.merging.methods.fisher_regmean import regression_mean
from src.merging.methods.fisher_regmean_statistics import diagonal_fisher, gram_matrices
from src.utils.errors import UserError
from tests.merging.tools import Tensors, identical, largest_difference, merge_one, random_family, recipe

LABELS = ("codegen", "codesum")


def statistics(directory: Path, tensors: list[Tensors]) -> dict[str, str]:
    for label, content in zip(LABELS, tensors, strict=True):
        write_checkpoint(directory / f"statistics-{label}", content)
    return {label: str(directory / f"statistics-{label}") for label in LABELS}


def test_fisher_by_hand(tmp_path: Path) -> None:
    base = {"x": torch.zeros(3)}
    parents = [{"x": torch.tensor([1.0, 1.0, 1.0])}, {"x": torch.tensor([5.0, 5.0, 5.0])}]
    where = statistics(tmp_path, [{"x": torch.tensor([3.0, 1.0, 0.0])}, {"x": torch.tensor([1.0, 3.0, 0.0])}])
    merged = merge_one(tmp_path, base, parents, recipe("fisher", statistics=where, equalize=False))
    assert merged["x"].tolist() == pytest.approx([2, 4, 3], abs=1e-4)  # no information: the plain mean
    leaning = merge_one(tmp_path, base, parents, recipe("fisher", statistics=where, equalize=False, weight=0.75))
    assert leaning["x"].tolist() == pytest.approx([1.4, 3, 2], abs=1e-4)  # (9 + 5) / 10, (3 + 15) / 6


@pytest.mark.parametrize("equalize", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-12])
def test_the_floor_of_fisher_is_relative(tmp_path: Path, equalize: bool, scale: float) -> None:
    """Values of a 7B model lie far below 1e-6; they weigh as much as the same values times 1e12."""
    base = {"x": torch.zeros(3)}
    parents = [{"x": torch.ones(3)}, {"x": torch.full((3,), 5.0)}]
    fisher = [{"x": torch.tensor([3.0, 1.0, 0.0]) * scale}, {"x": torch.tensor([1.0, 3.0, 0.0]) * scale}]
    merged = merge_one(
        tmp_path, base, parents, recipe("fisher", statistics=statistics(tmp_path, fisher), equalize=equalize)
    )
    assert merged["x"].tolist() == pytest.approx([2, 4, 3], abs=1e-4)


def test_fisher_without_any_information_is_the_mean(tmp_path: Path) -> None:
    base, parents = random_family()
    zeros = [{name: torch.zeros_like(tensor) for name, tensor in base.items()}] * 2
    where = statistics(tmp_path, zeros)
    ours = merge_one(tmp_path / "ours", base, parents, recipe("fisher", statistics=where, weight=0.3))
    assert largest_difference(ours, merge_one(tmp_path / "mean", base, parents, recipe("linear", weight=0.3))) < 1e-6


def test_equalized_fisher_forgets_the_scale_of_gradients(tmp_path: Path) -> None:
    base, parents = random_family()
    first = [{name: torch.rand_like(tensor) for name, tensor in base.items()} for _ in LABELS]
    scaled = [first[0], {name: tensor * 1000 for name, tensor in first[1].items()}]
    one = merge_one(tmp_path / "a", base, parents, recipe("fisher", statistics=statistics(tmp_path / "a", first)))
    two = merge_one(tmp_path / "b", base, parents, recipe("fisher", statistics=statistics(tmp_path / "b", scaled)))
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in base)


@pytest.mark.parametrize("name", ["fisher", "regmean"])
def test_tensors_without_statistics_get_the_mean(tmp_path: Path, name: str) -> None:
    base, parents = random_family()
    where = statistics(tmp_path, [{"other": torch.ones(1)}] * 2)
    ours = merge_one(tmp_path / "ours", base, parents, recipe(name, statistics=where, weight=0.3))
    assert identical(ours, merge_one(tmp_path / "mean", base, parents, recipe("linear", weight=0.3)))


def test_regmean_serves_each_task_on_its_own_inputs() -> None:
    """Inputs in disjoint directions: the merged map equals each specialist's on its own, and the mean elsewhere."""
    torch.manual_seed(0)
    first, second = torch.randn(4, 6), torch.randn(4, 6)
    inputs = torch.randn(50, 6)
    mine, yours = inputs * torch.tensor([1, 1, 0, 0, 0, 0]), inputs * torch.tensor([0, 0, 1, 1, 1, 0])
    merged = regression_mean([first, second], [mine.T @ mine, yours.T @ yours], [0.5, 0.5], alpha=1.0).float()
    assert torch.allclose(mine @ merged.T, mine @ first.T, atol=1e-4)
    assert torch.allclose(yours @ merged.T, yours @ second.T, atol=1e-4)
    assert torch.allclose(merged[:, 5], (first[:, 5] + second[:, 5]) / 2, atol=1e-4)


def test_regmean_is_least_squares() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(3, 5, dtype=torch.float64) for _ in range(2)]
    inputs = [torch.randn(40, 5, dtype=torch.float64) for _ in range(2)]
    merged = regression_mean(weights, [x.T @ x for x in inputs], [1.0, 1.0], alpha=1.0)
    stacked = torch.cat(inputs)
    targets = torch.cat([x @ w.T for x, w in zip(inputs, weights, strict=True)])
    assert torch.allclose(merged, torch.linalg.lstsq(stacked, targets).solution.T, atol=1e-8)


def test_regmean_without_correlations_is_a_fisher_mean() -> None:
    weights = [torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, 5.0]])]
    grams = [torch.tensor([[3.0, 2.0], [2.0, 1.0]]), torch.tensor([[1.0, 9.0], [9.0, 3.0]])]
    assert regression_mean(weights, grams, [1.0, 1.0], alpha=0.0)[0].tolist() == pytest.approx([2, 4])


def test_regmean_of_a_checkpoint(tmp_path: Path) -> None:
    base, parents = random_family()
    name = "model.layers.1.mlp.down_proj.weight"
    torch.manual_seed(0)
    inputs = [torch.randn(200, 64) for _ in LABELS]
    where = statistics(tmp_path, [{name: x.T @ x} for x in inputs])
    merged = merge_one(tmp_path, base, parents, recipe("regmean", statistics=where, alpha=1.0))
    expected = regression_mean([one[name] for one in parents], [x.T @ x for x in inputs], [0.5, 0.5], alpha=1.0)
    assert torch.allclose(merged[name], expected.float(), atol=1e-5)


@pytest.mark.parametrize("name", ["fisher", "regmean"])
def test_statistics_that_do_not_serve(tmp_path: Path, name: str) -> None:
    base, parents = random_family()
    tensor = "model.layers.1.mlp.down_proj.weight"
    with pytest.raises(UserError, match=r"needs merge.statistics.codegen=DIR"):
        merge_one(tmp_path, base, parents, recipe(name))
    lopsided = statistics(tmp_path / "a", [{tensor: torch.ones(24, 64)}, {"other": torch.ones(1)}])
    with pytest.raises(UserError, match=f"statistics of codesum lack {tensor}"):
        merge_one(tmp_path, base, parents, recipe(name, statistics=lopsided))
    misshapen = statistics(tmp_path / "b", [{tensor: torch.ones(2)}] * 2)
    with pytest.raises(UserError, match=r"has shape \[2\], expected"):
        merge_one(tmp_path, base, parents, recipe(name, statistics=misshapen))


def test_bad_values() -> None:
    with pytest.raises(UserError, match=r"merge\.alpha must be at most 1, got 2"):
        recipe("regmean", alpha=2)
    with pytest.raises(UserError, match=r"merge\.equalize must be true or false"):
        recipe("fisher", equalize=None)


class Tiny(nn.Module):
    """A language model of one linear layer, with the interface of Hugging Face's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 7, bias=False)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> object:
        logits = self.lm_head(torch.tanh(self.hidden(self.embed(input_ids))))
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(
                logits[:, :-1].reshape(-1, 7), labels[:, 1:].reshape(-1), ignore_index=-100
            )
        return type("Output", (), {"loss": loss})()


def batch() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0], [2, 2, 2, 2]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]])
    labels = torch.tensor([[-100, 2, 3, 4], [-100, 6, -100, -100], [-100, -100, -100, -100]])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def test_fisher_is_the_mean_of_squared_sequence_gradients() -> None:
    model = Tiny()
    found = diagonal_fisher(model, [batch()])
    expected = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for row, tokens in ((0, 3), (1, 1)):  # the third has no label: it does not count
        one = {name: tensor[row : row + 1] for name, tensor in batch().items()}
        loss = model(**one).loss * tokens
        for (name, _), gradient in zip(
            model.named_parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
        ):
            expected[name] += gradient.square() / 2
    assert all(torch.allclose(found[name], expected[name], atol=1e-7) for name in expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gram_matrices_leave_out_padding_and_the_head() -> None:
    model = Tiny()
    found = gram_matrices(model, [batch(), batch()])
    assert list(found) == ["hidden.weight"]
    rows = model.embed(batch()["input_ids"]).detach()[batch()["attention_mask"].bool()]
    assert torch.allclose(found["hidden.weight"], rows.T @ rows / 10, atol=1e-6)
    assert not model.hidden._forward_pre_hooks
