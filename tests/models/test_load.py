from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from src.models import load_model, load_tokenizer, local_directory, without_bars
from src.utils.errors import UserError
from tests.lit_modules import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    with without_bars():
        tiny.network().save_pretrained(place)
    tiny.tokenizer().save_pretrained(place)
    return place


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_pretrained_weights(checkpoint: Path) -> None:
    model = load_model(checkpoint, dtype=torch.bfloat16)
    assert torch.equal(model.state_dict()["model.norm.weight"], tiny.network().model.norm.weight.bfloat16())
    assert model.config._attn_implementation == "sdpa"


def test_tokenizer_with_another_end_and_template(checkpoint: Path) -> None:
    tokenizer = load_tokenizer(checkpoint, chat_template="{{ 1 }}", eos_token="<|endoftext|>")
    assert (tokenizer.eos_token_id, tokenizer.chat_template) == (256, "{{ 1 }}")
    assert load_tokenizer(checkpoint).eos_token_id == 258
    with pytest.raises(UserError, match=r"model.eos_token='</s>' is not in the vocabulary"):
        load_tokenizer(checkpoint, eos_token="</s>")


@pytest.mark.parametrize("load", [load_tokenizer, load_model])
def test_missing_paths(tmp_path: Path, load: Any, offline: None) -> None:
    with pytest.raises(UserError, match=r"model.\w+=.*/nowhere: no such directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"cannot load a (tokenizer|model) from .*expected a Hugging Face directory"):
        load(tmp_path)
    with pytest.raises(
        UserError, match=r"=org/unknown is not in the local Hugging Face cache.*hf download org/unknown"
    ):
        load("org/unknown")


def test_a_cached_name_is_found_without_a_network(tmp_path: Path, offline: None) -> None:
    repository = tmp_path / "hub" / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert local_directory("org/name", "model.path", "main") == snapshot
    with pytest.raises(UserError, match=r"; otherwise set base=DIR, or stay at home"):
        local_directory("org/name", "base", "other", ", or stay at home")


def test_loading_is_silent(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(checkpoint)
    assert capfd.readouterr() == ("", "")
