import json
import shutil

import pytest
import torch

from src.checkpoints import write_checkpoint
from src.checkpoints.fingerprint import checkpoint_files, fingerprint, identify, weights_fingerprint
from src.runs.record import open_run
from src.utils.errors import UserError


def write(directory, value=1.0, shard_bytes=10**9):
    write_checkpoint(directory, {name: torch.full((4,), value) for name in ("a", "b")}, shard_bytes)
    (directory / "config.json").write_text("{}")
    (directory / "tokenizer.json").write_text("{}")
    return directory


def run_with_weights(place, value=1.0):
    with open_run(place, stage="train", config={}, argv=["python", "train.py"]) as run:
        write(run.work, value)
        (run.work / "metrics.jsonl").write_text(str(place))
    return place


def test_weights_config_and_tokenizer_make_a_checkpoint(tmp_path):
    write(tmp_path / "one")
    before = fingerprint(tmp_path / "one")
    assert list(before) == ["config.json", "model.safetensors", "tokenizer.json"]
    for other in ("README.md", "optimizer.pt", "consolidated.safetensors", "pytorch_model.bin"):
        (tmp_path / "one" / other).write_text("beside the checkpoint")
    assert fingerprint(tmp_path / "one") == before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_it_follows_the_content_of_each(tmp_path, name):
    before = fingerprint(write(tmp_path / "one"))
    (tmp_path / "one" / name).write_bytes(b"other")
    after = fingerprint(tmp_path / "one")
    assert [file for file in before if before[file] != after[file]] == [name]


def test_shards_are_those_of_the_index(tmp_path):
    write(tmp_path / "one", shard_bytes=16)
    shards = [name for name in checkpoint_files(tmp_path / "one") if name.endswith(".safetensors")]
    assert shards == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert "model.safetensors.index.json" in checkpoint_files(tmp_path / "one")


def test_the_weights_alone(tmp_path):
    before = weights_fingerprint(write(tmp_path / "one"))
    (tmp_path / "one" / "tokenizer.json").write_text("{ }")
    assert weights_fingerprint(tmp_path / "one") == before == weights_fingerprint(write(tmp_path / "two"))
    one_bit = torch.tensor(1.0).nextafter(torch.tensor(9.0)).item()
    assert weights_fingerprint(write(tmp_path / "three", one_bit)) != before


def test_adapters_and_pickled_weights(tmp_path):
    for name in ("adapter_config.json", "adapter_model.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_text("x")
    assert checkpoint_files(tmp_path) == ["adapter_config.json", "adapter_model.safetensors"]
    (tmp_path / "adapter_config.json").unlink()
    (tmp_path / "adapter_model.safetensors").unlink()
    assert checkpoint_files(tmp_path) == ["pytorch_model.bin"]


def test_fingerprints_depend_only_on_checkpoint_files(tmp_path):
    one, two = (run_with_weights(tmp_path / name) for name in ("one", "two"))
    assert fingerprint(one) == fingerprint(two) == fingerprint(write(tmp_path / "elsewhere"))
    assert fingerprint(run_with_weights(tmp_path / "three", 2.0)) != fingerprint(one)
    assert identify(one).run.argv == ["python", "train.py"]
    assert identify(tmp_path / "elsewhere").run is None


def test_weights_copied_over_those_of_a_run_are_refused(tmp_path):
    one, two = run_with_weights(tmp_path / "one"), run_with_weights(tmp_path / "two", 2.0)
    fingerprint(one)
    shutil.copy(two / "model.safetensors", one / "model.safetensors")
    with pytest.raises(UserError, match=rf"{one} .*model\.safetensors has changed"):
        fingerprint(one)


def test_an_index_that_would_hide_the_weights_of_a_run_is_refused(tmp_path):
    one = run_with_weights(tmp_path / "one")
    index = {"weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}
    (one / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json was added"):
        fingerprint(one)


def test_a_run_without_its_weights_is_refused(tmp_path):
    one = run_with_weights(tmp_path / "one")
    (one / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        fingerprint(one)
