"""Packed rows against the same rows alone: losses of every token and gradients, with every backend of a CPU."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.masking_utils import create_causal_mask

from src.data.batches import Layout, validation_batches
from src.data.collate import Batch
from src.lit_modules.loss import token_losses
from src.models import apply_kernels, choose_attention, recompute_activations
from src.utils.errors import UserError
from tests.lit_modules import tiny

TABLE = tiny.tables({"a": [*tiny.rows("a", 7), *tiny.rows("b", 6, length=4)]})["a"]
ALONE = Layout(1)
LAYOUTS = {
    "flat": Layout(2, packing=True, max_length=64),
    "lines": Layout(2, packing=True, max_length=64, flat=False),
    "padded": Layout(4),
}


def llama() -> LlamaForCausalLM:
    """DeepSeek-Coder's architecture: scaled rotary positions, as many key-value heads as heads, an untied head."""
    config = LlamaConfig(
        vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e5},
    )  # fmt: skip
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def measured(network: PreTrainedModel, batches: list[Batch]) -> tuple[dict[int, list[float]], dict[str, torch.Tensor]]:
    """Losses by target (sorted, since rows come in any order) and the gradient of their sum."""
    network.zero_grad()
    losses: dict[int, list[float]] = {}
    for batch in batches:
        found = token_losses(network, batch)
        found.sum().backward()
        for target, loss in zip(batch["targets"].tolist(), found.tolist(), strict=True):
            losses.setdefault(target, []).append(loss)
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return {target: sorted(values) for target, values in losses.items()}, gradients


def assert_equal(
    one: tuple[dict[int, list[float]], dict[str, torch.Tensor]],
    other: tuple[dict[int, list[float]], dict[str, torch.Tensor]],
) -> None:
    assert one[0].keys() == other[0].keys()
    for target, losses in one[0].items():
        assert losses == pytest.approx(other[0][target], abs=1e-5)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", [tiny.network, llama], ids=["qwen2", "llama"])
@pytest.mark.parametrize(
    ("backend", "layout"),
    [("varlen", "flat"), ("varlen", "padded"), ("sdpa", "lines"), ("sdpa", "padded"), ("eager", "lines")],
)
def test_packed_equals_alone(family: object, backend: str, layout: str) -> None:
    network = family()  # type: ignore[operator]
    network.set_attn_implementation("eager")
    expected = measured(network, validation_batches(TABLE, ALONE, tiny.PAD))
    network.set_attn_implementation(choose_attention(backend, packed=True, gpu=False))
    batches = validation_batches(TABLE, LAYOUTS[layout], tiny.PAD)
    assert len(batches) < len(TABLE) / 2
    assert_equal(measured(network, batches), expected)


@pytest.mark.slow  # transformers compiles the making of this mask
@pytest.mark.filterwarnings("ignore")
def test_the_mask_of_flex_attention_ends_at_borders() -> None:
    """It trains on a GPU only; its mask is checked pair by pair."""
    network = tiny.network()
    network.set_attn_implementation("flex_attention")
    [batch, *_] = validation_batches(TABLE, LAYOUTS["lines"], tiny.PAD)
    positions = batch["inputs"]["position_ids"]
    lines, width = positions.shape
    documents = (positions == 0).cumsum(1)
    mask = create_causal_mask(
        network.config, torch.zeros(lines, width, 32), attention_mask=None, past_key_values=None, position_ids=positions
    )
    place = torch.arange(width)
    for line in range(lines):
        seen = mask.mask_mod(torch.tensor(line), torch.tensor(0), place[:, None], place[None])
        same = documents[line][:, None] == documents[line][None]
        assert torch.equal(seen, same & (place[:, None] >= place[None]))


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["varlen", "flex", "sdpa", "eager", "flash_attention_2", "flash_attention_3"])
def test_packed_equals_alone_on_a_gpu(backend: str) -> None:
    """In bfloat16, so to a hundredth."""
    try:
        name = choose_attention(backend, packed=True)
    except UserError as error:
        pytest.skip(str(error))
    network = tiny.network().to("cuda", torch.bfloat16)
    layout = LAYOUTS["lines" if backend in ("flex", "sdpa", "eager") else "flat"]
    network.set_attn_implementation("eager")
    expected, _ = measured(network, on_gpu(validation_batches(TABLE, ALONE, tiny.PAD)))
    network.set_attn_implementation(name)
    losses, _ = measured(network, on_gpu(validation_batches(TABLE, layout, tiny.PAD)))
    for target, values in expected.items():
        assert losses[target] == pytest.approx(values, abs=0.05)


def on_gpu(batches: list[Batch]) -> list[Batch]:
    return [
        {
            name: {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in value.items()}
            if isinstance(value, dict)
            else value.cuda()
            for name, value in batch.items()
        }
        for batch in batches
    ]


def test_documents_do_not_see_each_other() -> None:
    """Other tokens in the document before change nothing: the fault that packing without borders has."""
    network = tiny.network()
    network.set_attn_implementation(choose_attention("varlen", packed=True))
    [batch] = validation_batches(TABLE, Layout(100, packing=True, max_length=64), tiny.PAD)
    borders = batch["inputs"]["cu_seq_lens_q"].tolist()
    before = token_losses(network, batch)
    batch["inputs"]["input_ids"][0, : borders[1]] = 7
    changed = (token_losses(network, batch) - before).abs() > 1e-6
    columns = batch["inputs"]["logits_to_keep"]
    assert changed[columns < borders[1]].any()
    assert not changed[columns >= borders[1]].any()


def test_recomputed_activations_and_portions_of_logits_change_nothing() -> None:
    batches = validation_batches(TABLE, LAYOUTS["flat"], tiny.PAD)
    network = tiny.network(tied=False)
    network.set_attn_implementation(choose_attention("varlen", packed=True))
    network.train()
    expected = measured(network, batches)
    recompute_activations(network)
    assert_equal(measured(network, batches), expected)
    for batch in batches:
        portions = token_losses(network, batch, logits_at_once=3 * 260)
        torch.testing.assert_close(portions, token_losses(network, batch))
    network.zero_grad()
    for batch in batches:
        token_losses(network, batch, logits_at_once=3 * 260).sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[1][name], atol=1e-5, rtol=1e-5)


def test_losses_equal_those_of_transformers() -> None:
    """Row by row against the loss that the model itself computes from labels."""
    network = tiny.network()
    for index in range(len(TABLE)):
        tokens, labels = TABLE.row(index)
        [batch] = validation_batches(TABLE.subset([index]), ALONE, tiny.PAD)  # type: ignore[arg-type]
        ids = torch.from_numpy(tokens.astype("int64"))[None]
        theirs = network(input_ids=ids, labels=torch.from_numpy(labels)[None]).loss
        assert token_losses(network, batch).mean().item() == pytest.approx(theirs.item(), abs=1e-5)


def test_the_head_is_itself_again_afterwards() -> None:
    network = tiny.network()
    [batch, *_] = validation_batches(TABLE, ALONE, tiny.PAD)
    token_losses(network, batch)
    assert network(input_ids=torch.arange(5)[None]).logits.shape == (1, 5, 260)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_layers_give_the_same_losses() -> None:
    network = tiny.network()
    network.set_attn_implementation(choose_attention("varlen", packed=True))
    batches = validation_batches(TABLE, LAYOUTS["flat"], tiny.PAD)
    expected = measured(network, batches)
    apply_kernels(network, gpu=False, compiled=True)
    assert_equal(measured(network, batches), expected)
