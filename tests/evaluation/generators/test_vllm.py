"""The vLLM generator against a stand-in that records what it is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from src.evaluation.generators.samples import Decoding, Prompt
from src.evaluation.generators.vllm import VLLMGenerator
from src.evaluation.generators.vllm_worker import TakesCheckpoints
from src.utils.errors import UserError
from tests.evaluation.generators.tiny import tiny_model, tiny_tokenizer


class Engine:
    """Stands in for `vllm.LLM`."""

    made = 0

    def __init__(self, **arguments: Any) -> None:
        Engine.made += 1
        self.arguments, self.calls, self.asked = arguments, [], []

    def generate(self, inputs: list[dict[str, Any]], parameters: list[Any], use_tqdm: bool) -> list[Any]:
        self.asked.append((inputs, parameters))
        ends = [("stop", None), ("stop", "\nprint("), ("length", None)]
        return [
            SimpleNamespace(
                outputs=[SimpleNamespace(text="answer", token_ids=[1, 2], finish_reason=reason, stop_reason=which)]
            )
            for (reason, which), _ in zip(ends * len(inputs), inputs, strict=False)
        ]

    def collective_rpc(self, method: str, args: tuple[Any, ...]) -> None:
        self.calls.append((method, *args))

    def reset_prefix_cache(self) -> None:
        self.calls.append(("reset_prefix_cache",))


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams, module.__version__ = Engine, SimpleNamespace, "0.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    Engine.made = 0


def checkpoint(place: Path, scale: float = 1.0, layers: int = 2) -> Path:
    model = tiny_model(layers=layers)
    with torch.no_grad():
        model.model.norm.weight.mul_(scale)
    model.save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place


def test_answers_and_parameters(vllm: None, tmp_path: Path) -> None:
    generator = VLLMGenerator(tensor_parallel=2, chunk=2)
    generator.load(checkpoint(tmp_path / "a"))
    assert generator.engine.arguments["tensor_parallel_size"] == 2
    decoding = Decoding(max_new_tokens=300, temperature=0.7, top_p=0.9, samples=2, repetition_penalty=1.1, stop=("x",))
    samples = list(generator.generate([Prompt("p", "Hi"), Prompt("q", "Ho")], decoding, frozenset({("p", 1)})))
    assert [(sample.task_id, sample.index) for sample in samples] == [("p", 0), ("q", 0), ("q", 1)]
    assert [sample.finish for sample in samples] == ["end", "stop", "end"]
    assert samples[0].prompt.endswith("<|im_start|>assistant\n")
    (inputs, parameters), (_, later) = generator.engine.asked
    assert tiny_tokenizer().decode(inputs[0]["prompt_token_ids"]) == samples[0].prompt
    assert parameters[0].max_tokens == 256 - len(inputs[0]["prompt_token_ids"])
    assert (parameters[0].top_p, parameters[0].top_k, parameters[0].stop) == (0.9, -1, ["x"])
    assert len({parameters[0].seed, parameters[1].seed, later[0].seed}) == 3


def test_end_tokens_are_passed_and_nothing_else_of_the_generation_config(vllm: None, tmp_path: Path) -> None:
    """vLLM would also take its length limit and penalties."""
    generator = VLLMGenerator()
    generator.load(checkpoint(tmp_path / "a"))
    list(generator.generate([Prompt("p", "Hi")], Decoding(max_new_tokens=3)))
    [(_, [parameters])] = generator.engine.asked
    assert parameters.stop_token_ids == [0, 40, 80, 120, 160, 200, 240, 256]
    assert parameters.repetition_penalty == 1.0
    assert generator.engine.arguments["generation_config"] == "vllm"


def test_greedy_has_no_seed(vllm: None, tmp_path: Path) -> None:
    generator = VLLMGenerator()
    generator.load(checkpoint(tmp_path / "a"))
    list(generator.generate([Prompt("p", "Hi")], Decoding(max_new_tokens=3)))
    [(_, [parameters])] = generator.engine.asked
    assert (parameters.seed, parameters.temperature, parameters.max_tokens, parameters.stop) == (None, 0.0, 3, None)


def test_one_engine_serves_the_checkpoints_of_a_grid(vllm: None, tmp_path: Path) -> None:
    generator = VLLMGenerator()
    generator.load(checkpoint(tmp_path / "a"))
    first = generator.identity()
    generator.load(checkpoint(tmp_path / "b", scale=2.0))
    assert Engine.made == 1
    assert generator.engine.calls == [("take_checkpoint", str((tmp_path / "b").resolve())), ("reset_prefix_cache",)]
    assert {**generator.identity(), "weights": ""} == {**first, "weights": ""}
    assert generator.identity()["weights"] != first["weights"]
    with pytest.raises(UserError, match=r"config or tokenizer of .* differ from the running engine"):
        generator.load(checkpoint(tmp_path / "c", layers=1))


def test_a_worker_reads_every_tensor(tmp_path: Path) -> None:
    taken: dict[str, torch.Tensor] = {}
    worker = TakesCheckpoints()
    worker.model_runner = SimpleNamespace(model=SimpleNamespace(load_weights=taken.update))
    assert worker.take_checkpoint(str(checkpoint(tmp_path / "a", scale=3.0))) == len(taken)
    assert torch.equal(taken["model.norm.weight"], torch.full((32,), 3.0))


def test_without_vllm_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"needs vLLM: see docs/evaluation\.md.*or use generator=hf"):
        VLLMGenerator().load(checkpoint(tmp_path / "a"))
