import json
import os
import subprocess
import sys

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.checkpoints.fingerprint import weights_fingerprint
from src.runs import finished
from src.stages.job import compose_job
from src.stages.merge.run import merge
from src.stages.merge.verify import verify
from src.utils.errors import UserError
from tests.stages.command import ROOT, run_script


def parents(world):
    places = {
        name: world / "train" / f"pocket-{name}-s0" for name in ("base", "specialist-codegen", "specialist-codesum")
    }
    return [Checkpoint(place) for place in places.values()]


def script(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_task_arithmetic_by_hand(world, tmp_path):
    overrides = ["merge=task_arithmetic", "merge.weight=0.3", f"output_root={world}", f"output={tmp_path}/merged"]
    merged = Checkpoint(merge(compose_job("merge", overrides)))
    base, codegen, codesum = parents(world)
    for name in base.names:
        b, first, second = (parent.tensor(name) for parent in (base, codegen, codesum))
        expected = b + (0.3 * (first - b) + 0.7 * (second - b))
        assert torch.allclose(merged.tensor(name), expected, atol=1e-6)


def test_coefficients_that_are_probably_a_slip_are_said_and_merged(world, tmp_path, capsys):
    """`merge.weight=30` once merged without a word; a factor of task arithmetic is no slip."""
    common = ["merge=task_arithmetic", f"output_root={world}"]
    merge(compose_job("merge", [*common, "merge.weight=30", f"output={tmp_path}/slip"]))
    said = capsys.readouterr().err
    assert "warning: coefficients outside 0-1: slip (task_arithmetic): codegen 30, codesum -29" in said
    merge(compose_job("merge", [*common, "merge.weights={codegen: 1.5, codesum: 1}", f"output={tmp_path}/meant"]))
    assert "warning" not in capsys.readouterr().err


def test_the_record_holds_recipe_parents_and_strength(world, tmp_path):
    overrides = ["merge=ties", "merge.weight=0.25", f"output_root={world}", f"output={tmp_path}/merged"]
    record = json.loads((merge(compose_job("merge", overrides)) / "run.json").read_text())
    assert record["results"]["recipe"]["weights"] == {"codegen": 0.25, "codesum": 0.75}
    assert set(record["inputs"]) == {"base", "codegen", "codesum"}
    assert {layer["layer"] for layer in record["results"]["strength"]} >= {
        "embed_tokens",
        "layers.0",
        "layers.1",
        "norm",
        "all",
    }


def test_the_sweep_of_the_manual_leaves_27_run_directories(world, tmp_path):
    parents = [f"base={world}/train/pocket-base-s0"]
    parents += [f"specialists.{task}={world}/train/pocket-specialist-{task}-s0" for task in ("codegen", "codesum")]
    sweep = ["-m", "merge=ties,dare,della", "merge.weight=0.1,0.2,...,0.9", f"output_root={tmp_path}"]
    done = script("merge.py", *sweep, *parents)
    assert done.returncode == 0, done.stderr
    places = sorted((tmp_path / "merge").glob("pocket-base-s0-*"))
    assert len(places) == 27
    assert all((place / "model.safetensors").is_file() and (place / "run.json").is_file() for place in places)
    weights = {
        json.loads((place / "run.json").read_text())["results"]["recipe"]["weights"]["codegen"] for place in places
    }
    assert weights == {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}
    single = [f"output={tmp_path}/single", "merge=della", "merge.weight=0.4", *parents]
    alone = weights_fingerprint(merge(compose_job("merge", single)))
    assert alone == weights_fingerprint(tmp_path / "merge" / "pocket-base-s0-della-w0.4-s0")


def test_a_bad_point_leaves_the_others_of_its_sweep_unharmed(world, tmp_path, monkeypatch, capsys):
    parents = [f"base={world}/train/pocket-base-s0"]
    parents += [f"specialists.{task}={world}/train/pocket-specialist-{task}-s0" for task in ("codegen", "codesum")]
    sweep = ["-m", "merge=ties", "merge.density=0.5,2", f"output_root={tmp_path}"]
    code, _, said = run_script(monkeypatch, capsys, "merge.py", *sweep, *parents)
    assert code == 2
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "density" in lines[0]
    assert [path.name for path in (tmp_path / "merge").iterdir() if not path.name.startswith(".")] == [
        "pocket-base-s0-ties-density0.5-w0.5-s0"
    ]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["merge.weight=much"], ["weight", "much"]),
        (["base=/nowhere"], ["base=/nowhere", "no such directory"]),
        (["merge=tise"], ["tise", "ties", "dare"]),
        (["merge.densty=0.5"], ["densty"]),
        (["output_root=/nowhere"], ["missing", "python train.py strategy=specialist task=codegen"]),
        (["merge.weights={codegen: 0.3}"], ["codesum"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(world, tmp_path, monkeypatch, capsys, overrides, words):
    places = [f"output_root={world}", f"output={tmp_path}/merged"]
    code, _, said = run_script(monkeypatch, capsys, "merge.py", *places, *overrides)
    assert code == 2
    [line] = [line for line in said.splitlines() if line.strip()]
    assert all(word in line for word in words), line
    assert list(tmp_path.iterdir()) == []


def test_parents_of_different_shapes_are_named(world, tmp_path):
    from tests.stages.conftest import train_tiny

    train_tiny(tmp_path, "pocket-base-s0", "strategy=base", "strategy.architecture.width=16")
    overrides = [f"base={tmp_path}/train/pocket-base-s0", f"output_root={world}", f"output={tmp_path}/merged"]
    overrides += [f"specialists.{task}={world}/train/pocket-specialist-{task}-s0" for task in ("codegen", "codesum")]
    with pytest.raises(UserError, match=r"model\.\S+.*shape|layers"):
        merge(compose_job("merge", overrides))
    assert not (tmp_path / "merged").exists()


def test_a_merge_that_was_tampered_with_does_not_verify(world, tmp_path):
    overrides = ["merge=dare", "merge.weight=0.4", f"output_root={world}", f"output={tmp_path}/merged"]
    merged = merge(compose_job("merge", overrides))
    assert len(verify(merged).sampled) == 16
    weights = {name: Checkpoint(merged).tensor(name).clone() for name in Checkpoint(merged).names}
    for tensor in weights.values():
        tensor.view(-1)[0] += 1
    write_checkpoint(merged, weights)
    with pytest.raises(UserError, match="does not match its record"):
        verify(merged)
    with pytest.raises(UserError, match=r"expected the run directory of a merge"):
        verify(world / "train" / "pocket-base-s0")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: (place / "config.json").write_text("{}"), "config.json has changed"),
        (lambda place: (place / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda place: (place / "model.safetensors.index.json").write_text("{}"), "index.json was added"),
        (lambda place: flip_last_byte(place / "model.safetensors"), "model.safetensors has changed"),
    ],
)
def test_every_file_of_a_merge_is_verified(world, tmp_path, spoil, words):
    overrides = ["merge=linear", f"output_root={world}", f"output={tmp_path}/merged"]
    merged = merge(compose_job("merge", overrides))
    found = verify(merged, every=True)
    assert len(found.sampled) == found.total == len(Checkpoint(merged).names)
    assert len({verify(merged).sampled for _ in range(5)}) > 1  # drawn anew
    spoil(merged)
    with pytest.raises(UserError, match=f"does not match its record: .*{words}"):
        verify(merged)


def flip_last_byte(path):
    """Keep size and time, as a disk that rots does."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_verify_says_how_many_of_how_many(world, tmp_path, monkeypatch, capsys):
    merged = merge(compose_job("merge", ["merge=linear", f"output_root={world}", f"output={tmp_path}/merged"]))
    total = len(Checkpoint(merged).names)
    code, out, err = run_script(monkeypatch, capsys, "merge.py", f"verify={merged}")
    assert (code, f"16 of {total} tensors" in err + out) == (0, True)
    alone = ["verify_all=true", f"output_root={world}", f"output={tmp_path}/other"]
    code, _, err = run_script(monkeypatch, capsys, "merge.py", *alone)
    assert (code, "verify_all=true needs verify=DIR" in err) == (2, True)


def test_a_nested_linear_merge_equals_the_merge_of_all(world, tmp_path):
    base = f"base={world}/train/pocket-base-s0"
    places = {name: f"{world}/train/pocket-{name}-s0" for name in ("specialist-codegen", "specialist-codesum", "mix")}
    first = [
        f"specialists.codegen={places['specialist-codegen']}",
        f"specialists.codesum={places['specialist-codesum']}",
    ]
    pair = merge(compose_job("merge", ["merge=linear", "merge.weight=0.5", base, *first, f"output={tmp_path}/pair"]))
    joined = [
        f"specialists.pair={pair}",
        f"specialists.bugfix={places['mix']}",
        "merge.weights={pair: 0.6, bugfix: 0.4}",
    ]
    again = merge(compose_job("merge", ["merge=linear", base, *joined, f"output={tmp_path}/joined"]))
    weights = "merge.weights={codegen: 0.3, codesum: 0.3, bugfix: 0.4}"
    third = [*first, f"specialists.bugfix={places['mix']}", weights]
    once = merge(compose_job("merge", ["merge=linear", base, *third, f"output={tmp_path}/once"]))
    for name in Checkpoint(once).names:
        assert torch.allclose(Checkpoint(again).tensor(name), Checkpoint(once).tensor(name), atol=1e-6)
    resolved = json.loads((again / "run.json").read_text())["results"]["nested_merges"]
    assert resolved["coefficients"] == pytest.approx({"codegen": 0.3, "codesum": 0.3, "bugfix": 0.4})
    assert resolved["reason"] == ""


def test_the_record_of_a_parent_is_parsed_once(world, tmp_path, monkeypatch):
    parsed = []
    original = finished.read_record
    monkeypatch.setattr(finished, "read_record", lambda directory: parsed.append(directory) or original(directory))
    merge(compose_job("merge", ["merge=linear", f"output_root={world}", f"output={tmp_path}/merged"]))
    names = ("base", "specialist-codegen", "specialist-codesum")
    assert sorted(parsed) == [world / "train" / f"pocket-{name}-s0" for name in names]
