from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from src.checkpoints import Checkpoint
from src.lit_modules.export import export_checkpoint
from src.lit_modules.options import OptimizerOptions
from tests.lit_modules import tiny
from tests.lit_modules.fitting import run


@pytest.mark.parametrize("tied", [True, False])
def test_plain_transformers_reopens_it(tmp_path: Path, tied: bool) -> None:
    network, tokenizer = tiny.network(tied=tied), tiny.tokenizer()
    options = OptimizerOptions(1e-3)
    rows = {"a": tiny.rows("a", 8)}
    run(tmp_path / "w", network, train=rows, validation={}, optimizer=options, batches=tiny.batches(4, 4, steps=5))
    export_checkpoint(network, tokenizer, tmp_path / "out", torch.float32)
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(20)[None]
    assert torch.equal(reopened(ids).logits, network(ids).logits)
    assert ("lm_head.weight" in Checkpoint(tmp_path / "out").names) is not tied
    again = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again.chat_template == tokenizer.chat_template
    assert again.eos_token == "<|im_end|>"
    assert again("a<|im_end|>\n").input_ids == tokenizer("a<|im_end|>\n").input_ids


def test_dtype_and_end_token(tmp_path: Path) -> None:
    network = tiny.network()
    network.generation_config.eos_token_id = [256]
    export_checkpoint(network, tiny.tokenizer(), tmp_path, torch.bfloat16)
    checkpoint = Checkpoint(tmp_path)
    assert {checkpoint.dtype(name) for name in checkpoint.names} == {torch.bfloat16}
    assert torch.equal(checkpoint.tensor("model.norm.weight"), network.model.norm.weight.bfloat16())
    assert checkpoint.config["dtype"] == "bfloat16"
    assert checkpoint.config["architectures"] == ["Qwen2ForCausalLM"]
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [258, 256]
