"""Exports open in transformers 4 with equal outputs; files of the base stay as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from src.lit_modules.export import export_checkpoint
from src.models import load_tokenizer
from src.models.save import save_config, save_tokenizer
from src.pocket.model import PocketModel
from tests.data.shared import needs_shared, shared

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "factor": 4.0}


@pytest.mark.parametrize("scaling", [None, LINEAR])
def test_rotary_settings_have_their_names_of_both_versions(tmp_path: Path, scaling: dict[str, object] | None) -> None:
    save_config(Qwen2Config(**SIZES, rope_theta=5e5, rope_scaling=scaling, dtype="bfloat16"), tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["rope_theta"] == written["rope_parameters"]["rope_theta"] == 5e5
    assert written["torch_dtype"] == written["dtype"] == "bfloat16"
    found = written["rope_scaling"]
    assert found is None if scaling is None else found["rope_type"] == "linear" and found["factor"] == 4.0
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.rope_parameters == written["rope_parameters"]


def test_a_tokenizer_made_here_is_of_a_class_that_all_versions_know(tmp_path: Path) -> None:
    PocketModel(width=32, layers=2, heads=2, key_value_heads=1, mlp_width=32).write(tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert written["additional_special_tokens"] == ["<|im_start|>"]
    assert not (tmp_path / "chat_template.jinja").exists()
    reopened = AutoTokenizer.from_pretrained(tmp_path)
    assert reopened.chat_template == written["chat_template"]
    assert "<|im_start|>" in reopened.all_special_tokens


@needs_shared
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["qwen2.5-7b-instruct", "deepseek-coder-6.7b-instruct"])
def test_files_of_the_base_change_only_where_training_changed_them(name: str, tmp_path: Path) -> None:
    source = shared("data", "tokenizers", name)
    theirs = {path.name: path.read_bytes() for path in source.glob("[!cgm]*")} | {
        path.name: path.read_bytes() for path in source.glob("merges.txt")
    }
    save_tokenizer(load_tokenizer(source), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == theirs
    end = "<|endoftext|>" if "qwen" in name else "<｜end▁of▁sentence｜>"
    save_tokenizer(load_tokenizer(source, chat_template="{{ messages }}", eos_token=end), tmp_path)
    before, after = (json.loads(place.joinpath("tokenizer_config.json").read_text()) for place in (source, tmp_path))
    assert {key for key in before if before[key] != after[key]} == {"chat_template", "eos_token"}
    reopened = AutoTokenizer.from_pretrained(tmp_path)
    assert (reopened.eos_token, reopened.chat_template) == (end, "{{ messages }}")


OPEN = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
place = sys.argv[1]
expected = torch.load(place + "/expected.pt")
tokenizer = AutoTokenizer.from_pretrained(place)
turns = [{"role": "user", "content": "Add a and b."}]
text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
assert tokenizer(text, add_special_tokens=False).input_ids == expected["ids"], "other tokens"
assert tokenizer.eos_token_id == expected["eos"], "another end token"
network = AutoModelForCausalLM.from_pretrained(place, attn_implementation="eager").float().eval()
with torch.no_grad():
    logits = network(torch.tensor([expected["ids"]])).logits
print("largest difference", (logits - expected["logits"]).abs().max().item())
torch.testing.assert_close(logits, expected["logits"], atol=1e-5, rtol=0)
"""
# release, and the versions of its dependencies that changed since
OLD = {
    "4.46.3": ["tokenizers==0.20.3", "huggingface-hub==0.26.5"],
    "4.57.3": ["tokenizers==0.22.1", "huggingface-hub==0.36.0"],
}


@needs_shared
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", OLD)
def test_exports_open_in_older_versions_with_equal_logits(version: str, tmp_path: Path) -> None:
    """Before, tokenizers failed, and networks rotated by the default base without an error."""
    packages = [f"transformers=={version}", *OLD[version]]
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "old"), *packages]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install transformers {version}: {done.stderr.strip().splitlines()[-1]}")
    for name, config, network in (
        ("qwen2.5-7b-instruct", Qwen2Config(**SIZES, rope_theta=1e6, vocab_size=152064), Qwen2ForCausalLM),
        (
            "deepseek-coder-6.7b-instruct",
            LlamaConfig(**SIZES, rope_theta=1e5, rope_scaling=LINEAR, vocab_size=32256),
            LlamaForCausalLM,
        ),
    ):
        place = tmp_path / name
        _export(network(config), name, place)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "old")}
        opened = subprocess.run(
            [sys.executable, "-c", OPEN, str(place)], env=environment, capture_output=True, text=True, check=False
        )
        assert opened.returncode == 0, opened.stderr[-2000:]


def _export(network: torch.nn.Module, name: str, place: Path) -> None:
    tokenizer = load_tokenizer(shared("data", "tokenizers", name))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.3)  # large enough for positions to matter
    export_checkpoint(network, tokenizer, place, torch.float32)  # type: ignore[arg-type]
    turns = [{"role": "user", "content": "Add a and b."}]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = network.eval()(torch.tensor([ids])).logits
    torch.save({"ids": ids, "eos": tokenizer.eos_token_id, "logits": logits}, place / "expected.pt")
