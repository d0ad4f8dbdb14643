from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen2ForCausalLM

from src.checkpoints import Checkpoint
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.generators.samples import Decoding, Prompt
from src.evaluation.generators.swap_weights import all_but_weights, take_weights
from src.utils.errors import UserError
from tests.evaluation.generators.tiny import tiny_model, tiny_tokenizer

PROMPTS = [Prompt(str(number), "ab" * number) for number in range(5)]


def other_model() -> Qwen2ForCausalLM:
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    return model


def saved(model: Qwen2ForCausalLM, place: Path) -> Path:
    model.save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place


def test_a_live_model_becomes_the_other() -> None:
    live, other = tiny_model(), other_model()
    take_weights(live, ((name, tensor) for name, tensor in other.state_dict().items() if name != "lm_head.weight"))
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(live(ids).logits, other(ids).logits)
    assert live.lm_head.weight.data_ptr() == live.model.embed_tokens.weight.data_ptr()


def test_tensors_are_requested_one_by_one() -> None:
    live, alive = tiny_model(), []

    def tensors():  # type: ignore[no-untyped-def]
        for name, tensor in other_model().state_dict().items():
            alive.append(name)
            yield name, tensor.to(torch.float64)  # cast to the model's dtype

    take_weights(live, tensors())
    assert len(alive) == len(live.state_dict())
    assert live.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.weight": torch.ones(7)}, r"model.norm.weight has shape \[7\], expected \[32\]"),
        ({"model.extra": torch.ones(1)}, "model.extra is not in the model"),
        ({"model.norm.weight": None}, "model.norm.weight is missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: dict[str, torch.Tensor | None], message: str) -> None:
    tensors = {**tiny_model().state_dict(), **change}
    with pytest.raises(UserError, match=message):
        take_weights(tiny_model(), [(name, tensor) for name, tensor in tensors.items() if tensor is not None])


def test_loading_the_next_checkpoint_reuses_the_model(tmp_path: Path) -> None:
    first, second = saved(tiny_model(), tmp_path / "first"), saved(other_model(), tmp_path / "second")
    generator, fresh, decoding = HFGenerator(device="cpu"), HFGenerator(device="cpu"), Decoding(max_new_tokens=12)
    generator.load(first)
    model = generator.model
    generator.load(second)
    fresh.load(second)
    assert generator.model is model
    assert list(generator.generate(PROMPTS, decoding)) == list(fresh.generate(PROMPTS, decoding))
    assert generator.identity() == fresh.identity()


def test_another_tokenizer_or_config_loads_anew(tmp_path: Path) -> None:
    first = saved(tiny_model(), tmp_path / "first")
    other = saved(tiny_model(layers=1), tmp_path / "other")
    generator = HFGenerator(device="cpu")
    generator.load(first)
    model = generator.model
    generator.load(other)
    assert generator.model is not model
    before = all_but_weights(first)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(first)
    assert all_but_weights(first) != before


def test_merged_weights_are_handed_over_without_a_checkpoint(tmp_path: Path) -> None:
    first, second = saved(tiny_model(), tmp_path / "first"), saved(other_model(), tmp_path / "second")
    generator, fresh, decoding = HFGenerator(device="cpu"), HFGenerator(device="cpu"), Decoding(max_new_tokens=12)
    generator.load(first)
    stored = Checkpoint(second)
    generator.take(((name, stored.tensor(name)) for name in stored.names), "point 7")
    fresh.load(second)
    assert list(generator.generate(PROMPTS, decoding)) == list(fresh.generate(PROMPTS, decoding))
    assert generator.identity()["weights"] == "point 7"
