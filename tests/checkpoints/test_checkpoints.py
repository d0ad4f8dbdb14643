"""The safetensors layout against the reference library, and everything that can be wrong with a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from src.checkpoints import Checkpoint, CheckpointWriter, TensorInfo, copy_side_files, write_checkpoint
from src.checkpoints.layout import read_header
from src.utils.errors import UserError


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(7, 5, generator=generator).bfloat16(),
        "b.bias": torch.randn(3, generator=generator),
        "c.empty": torch.empty(0, 4),
        "d.scalar": torch.tensor(2.5, dtype=torch.float64),
        "e.half": torch.randn(2, 3, 4, generator=generator).half(),
        "f.index": torch.arange(6).reshape(2, 3),
        "g.flag": torch.tensor([True, False]),
    }


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


def read_all(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = Checkpoint(path)
    return {name: checkpoint.tensor(name) for name in checkpoint.names}


def test_reads_what_safetensors_writes(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    checkpoint = Checkpoint(tmp_path)
    assert same(read_all(tmp_path), tensors())
    assert checkpoint.names == tuple(sorted(tensors()))
    assert checkpoint.shape("a.weight") == (7, 5)
    assert checkpoint.dtype("e.half") == torch.float16
    assert torch.equal(checkpoint.flat("a.weight", 4, 9), tensors()["a.weight"].reshape(-1)[4:9])
    with pytest.raises(KeyError, match="no tensor 'x'"):
        checkpoint.tensor("x")


@pytest.mark.parametrize("shard_bytes", [10**9, 100, 1])
def test_safetensors_reads_what_we_write(tmp_path: Path, shard_bytes: int) -> None:
    write_checkpoint(tmp_path, tensors(), shard_bytes)
    files = sorted(tmp_path.glob("*.safetensors"))
    found = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert same(found, tensors())
    assert same(read_all(tmp_path), tensors())
    with safe_open(files[0], "pt") as file:
        assert file.metadata() == {"format": "pt"}
    index = tmp_path / "model.safetensors.index.json"
    assert index.is_file() == (len(files) > 1)
    if index.is_file():
        total = sum(tensor.nbytes for tensor in tensors().values())
        assert json.loads(index.read_text())["metadata"]["total_size"] == total
    assert not list(tmp_path.glob(".*"))


def test_transformers_loads_our_shards(tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=32, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    config.save_pretrained(tmp_path)
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    write_checkpoint(tmp_path, state, shard_bytes=2000)
    loaded = Qwen2ForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())
    assert Checkpoint(tmp_path).tied
    assert Checkpoint(tmp_path).config["hidden_size"] == 8


def test_parts_may_come_in_any_order(tmp_path: Path) -> None:
    values = torch.arange(10.0)
    with CheckpointWriter(tmp_path, {"x": TensorInfo((2, 5), torch.float32)}) as writer:
        for start, stop in ((6, 10), (0, 3), (3, 6)):
            writer.write_part("x", start, values[start:stop])
        assert writer.pending == ("x",)
        writer.done("x")
        assert writer.pending == ()
    assert torch.equal(read_all(tmp_path)["x"], values.reshape(2, 5))


def interrupted(directory: Path, key: str, kind: type[BaseException]) -> tuple[str, ...]:
    """Write the first two tensors of three shards, then stop as `kind` does; what another attempt still has to do."""
    three = {name: torch.full((4,), float(ord(name))) for name in "xyz"}
    table = {name: TensorInfo((4,), torch.float32) for name in three}
    with pytest.raises(kind), CheckpointWriter(directory, table, 16, key="k") as writer:
        writer.write("x", three["x"])
        writer.write_part("y", 0, three["y"][:2])
        raise kind()
    assert not list(directory.glob("*.safetensors*"))  # nothing half-written is visible
    with CheckpointWriter(directory, table, 16, key=key) as writer:
        pending = writer.pending
        assert writer.notes == ({"x": None} if "x" not in pending else {})
        for name in pending:
            writer.write(name, three[name])
    assert same(read_all(directory), three)
    return pending


def test_resumes_behind_the_last_finished_shard(tmp_path: Path) -> None:
    assert interrupted(tmp_path, "k", KeyboardInterrupt) == ("y", "z")


def test_another_key_starts_anew(tmp_path: Path) -> None:
    assert interrupted(tmp_path, "other", KeyboardInterrupt) == ("x", "y", "z")


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    assert interrupted(tmp_path, "k", ArithmeticError) == ("x", "y", "z")


def test_resumes_while_publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = {name: torch.full((4,), float(ord(name))) for name in "xyz"}
    table = {name: TensorInfo((4,), torch.float32) for name in three}
    replace, moved = os.replace, []

    def dies_at_the_second_move(source: Path, target: Path) -> None:
        if Path(target).parent == tmp_path and Path(target).suffix == ".safetensors":
            moved.append(target)
            if len(moved) == 2:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies_at_the_second_move)
    with pytest.raises(KeyboardInterrupt), CheckpointWriter(tmp_path, table, 16) as writer:
        for name in writer.pending:
            writer.write(name, three[name])
    monkeypatch.undo()
    with CheckpointWriter(tmp_path, table, 16) as writer:
        assert writer.pending == ()
    assert same(read_all(tmp_path), three)


def test_leftovers_of_another_checkpoint_go(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), shard_bytes=1)
    write_checkpoint(tmp_path, {"x": torch.ones(2)})
    assert same(read_all(tmp_path), {"x": torch.ones(2)})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_disk_full_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_checkpoint(tmp_path, tensors())
    assert not list(tmp_path.iterdir())


def test_no_permission_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the checkpoint"):
        write_checkpoint(tmp_path / "file" / "out", tensors())


def test_missing_directory_and_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at"):
        Checkpoint(tmp_path / "absent")
    with pytest.raises(UserError, match="no weights in"):
        Checkpoint(tmp_path)


def test_pickle_needs_permission(tmp_path: Path) -> None:
    state = {"x": torch.arange(6.0).reshape(2, 3).t()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="allow_pickle=true"):
        Checkpoint(tmp_path)
    checkpoint = Checkpoint(tmp_path, allow_pickle=True)
    assert torch.equal(checkpoint.tensor("x"), state["x"])
    assert torch.equal(checkpoint.flat("x", 1, 3), state["x"].reshape(-1)[1:3])


def test_pickle_runs_no_code(tmp_path: Path) -> None:
    torch.save({"x": Path("/")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="corrupt or holds more than tensors"):
        Checkpoint(tmp_path, allow_pickle=True)


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors(), path)
    data = path.read_bytes()
    for length in (0, 5, 60, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"truncated|corrupt"):
            Checkpoint(tmp_path)


def test_file_that_shrinks_while_open(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path)
    os.truncate(tmp_path / "model.safetensors", 8)
    with pytest.raises(UserError, match="ends 70 bytes early"):
        checkpoint.tensor("a.weight")


def raw(header: object, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (raw(b"{oops"), "not JSON"),
        (raw([1]), "not a JSON object"),
        (raw({"x": [1]}), "malformed header entry of 'x'"),
        (raw({"x": {"dtype": "F32", "shape": [2]}}), "malformed header entry of 'x'"),
        (raw({"x": {"dtype": "F4", "shape": [2], "data_offsets": [0, 8]}}), "dtype F4"),
        (raw({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}), "spans 8 bytes"),
        (raw({"x": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}), "spans 8 bytes"),
        (raw({"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}), "truncated"),
        (b"\xff" * 16, "truncated or not a safetensors"),
    ],
)
def test_corrupt_header(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=message):
        Checkpoint(tmp_path)


def test_index_that_lies(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"x": torch.ones(2), "y": torch.ones(2)}, shard_bytes=8)
    index = tmp_path / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    index.write_text(json.dumps(good | {"weight_map": good["weight_map"] | {"x": "gone.safetensors"}}))
    with pytest.raises(UserError, match=r"names missing shards: gone\.safetensors"):
        Checkpoint(tmp_path)
    index.write_text(json.dumps(good | {"weight_map": good["weight_map"] | {"z": good["weight_map"]["x"]}}))
    with pytest.raises(UserError, match="names tensors that its shards lack: z in model-00001"):
        Checkpoint(tmp_path)
    index.write_text("{}")
    with pytest.raises(UserError, match="expected a JSON object with a weight_map"):
        Checkpoint(tmp_path)


def test_bad_config(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"x": torch.ones(2)})
    assert Checkpoint(tmp_path).config == {}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is corrupt"):
        _ = Checkpoint(tmp_path).config
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="expected a JSON object, got list"):
        _ = Checkpoint(tmp_path).config


def test_side_files(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "additional_chat_templates").mkdir(parents=True)
    (source / "config.json").write_text('{"dtype": "bfloat16", "hidden_size": 8}')
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "additional_chat_templates/a.jinja"):
        (source / name).write_text(name)
    (source / "model.safetensors").write_text("weights")
    (source / "run.json").write_text("{}")
    written = copy_side_files(source, target, dtype=torch.float32)
    assert {str(path.relative_to(target)) for path in written} == {
        "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "additional_chat_templates/a.jinja",
    }  # fmt: skip
    assert json.loads((target / "config.json").read_text()) == {"dtype": "float32", "hidden_size": 8}
    with pytest.raises(UserError, match="no checkpoint at"):
        copy_side_files(tmp_path / "absent", target)


def _with_header(path: Path, header: str, data: int) -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(data))
    return path


def _entry(name: str, start: int, end: int, shape: str) -> str:
    return f'"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (f"{{{_entry('a', 0, 8, '[2]')},{_entry('b', 4, 12, '[2]')}}}", "overlaps"),
        (f"{{{_entry('a', 0, 8, '[2]')},{_entry('b', 12, 16, '[1]')}}}", "leaves a hole"),
        (f"{{{_entry('a', 4, 12, '[2]')}}}", "leaves a hole after the header"),
        (f"{{{_entry('a', 0, 8, '[2]')}}}", "end at byte"),
        (f"{{{_entry('a', 0, 16, '[4]')},{_entry('a', 0, 16, '[4]')}}}", "occurs twice"),
        (f"{{{_entry('a', 0, 16, '[4.0]')}}}", "malformed"),
        (f"{{{_entry('a', 0, 16, '[true,4]')}}}", "malformed"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_headers_that_do_not_fit_their_file(tmp_path: Path, header: str, words: str) -> None:
    with pytest.raises(UserError, match=rf"x\.safetensors.*{words}"):
        read_header(_with_header(tmp_path / "x.safetensors", header, 16))


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "a/../../b.safetensors"])
def test_an_index_names_no_file_outside_of_its_directory(tmp_path: Path, shard: str) -> None:
    (tmp_path / "c").mkdir()
    write_checkpoint(tmp_path, tensors())
    (tmp_path / "model.safetensors").rename(tmp_path / "secret.safetensors")
    (tmp_path / "c" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(UserError, match=r"index\.json names files outside of its directory"):
        Checkpoint(tmp_path / "c")
