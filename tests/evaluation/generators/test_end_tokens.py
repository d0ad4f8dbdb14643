"""Models of one comparison stop at the same tokens, however their checkpoints came about."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from src.evaluation.generators.hf import HFGenerator
from src.evaluation.generators.stopping import end_tokens
from src.evaluation.generators.vllm import VLLMGenerator
from src.lit_modules.export import export_checkpoint
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.lazy import LazyMerge
from src.merging.engine.outputs import ToDirectory
from src.merging.engine.side_files import write_side_files
from src.merging.tensors.parent import open_parents
from src.models import load_model, load_tokenizer, unfilled_model
from tests.lit_modules import tiny
from tests.merging.tools import recipe

ENDS = [256, 257, 258]  # two of the base's generation config, one of the tokenizer
GENERATION = {
    "eos_token_id": [257, 256], "pad_token_id": 256, "repetition_penalty": 1.1, "do_sample": True, "top_p": 0.8
}  # fmt: skip
RECIPE = recipe("linear", weight=0.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base with its own generation config, exports of one and of several processes, and their merges."""
    place = tmp_path_factory.mktemp("checkpoints")
    places = {name: place / name for name in ("base", "single", "sharded", "merged", "lazy")}
    tiny.network().save_pretrained(places["base"])
    tiny.tokenizer().save_pretrained(places["base"])
    (places["base"] / "generation_config.json").write_text(json.dumps(GENERATION))
    whole = load_model(places["base"])
    export_checkpoint(whole, load_tokenizer(places["base"]), places["single"], torch.float32)
    shard = unfilled_model(places["base"], dtype=torch.float32)  # what each of several processes starts with
    shard.load_state_dict(whole.state_dict())
    export_checkpoint(shard, load_tokenizer(places["base"]), places["sharded"], torch.float32)
    parents = {"a": places["single"], "b": places["sharded"]}
    for name in ("merged", "lazy"):
        places[name].mkdir()
        write_side_files(places[name], places["base"], parents, RECIPE)
    base, specialists = open_parents(places["base"], parents)
    [result] = merge_grid(base, specialists, [MergeRequest(RECIPE, ToDirectory(places["merged"]))])
    assert result.error is None
    return places


@pytest.mark.parametrize("way", ["base", "single", "sharded", "merged", "lazy"])
def test_every_checkpoint_ends_at_the_same_tokens(made: dict[str, Path], way: str) -> None:
    generator = HFGenerator(device="cpu")
    if way == "lazy":
        parents = {"a": made["single"], "b": made["sharded"]}
        generator.load_lazy_merge(LazyMerge(made["lazy"], made["base"], parents, RECIPE, "lazy"))
    else:
        generator.load(made[way])
    assert generator.model is not None
    assert generator._end_ids() == ENDS


@pytest.mark.parametrize("way", ["single", "sharded", "merged", "lazy"])
def test_every_checkpoint_keeps_the_generation_config_of_its_base(made: dict[str, Path], way: str) -> None:
    stored = json.loads((made[way] / "generation_config.json").read_text())
    assert {key: stored[key] for key in GENERATION} == {**GENERATION, "eos_token_id": [258, 257, 256]}


@pytest.mark.parametrize("way", ["base", "single", "sharded", "merged"])
def test_vllm_ends_at_them_too(made: dict[str, Path], way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(**arguments: Any) -> Any:
        return SimpleNamespace(arguments=arguments)

    module = ModuleType("vllm")
    module.LLM = engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    generator = VLLMGenerator()
    generator.load(made[way])
    assert generator.ends == ENDS


def test_end_tokens() -> None:
    tokenizer = tiny.tokenizer()
    assert end_tokens(None, tokenizer) == [258]
    assert end_tokens(GenerationConfig(eos_token_id=7), tokenizer) == [7, 258]
    assert end_tokens(GenerationConfig(eos_token_id=[9, 258]), tokenizer) == [9, 258]
    assert end_tokens(GenerationConfig(eos_token_id=7), tiny.tokenizer(eos=None)) == [7]
