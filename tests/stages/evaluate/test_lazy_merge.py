"""Merges without weights on disk, from `merge.py save_weights=false` to their scores."""

import json
import shutil

import pytest

from src.checkpoints import Checkpoint
from src.evaluation.generators.hf import HFGenerator
from src.stages.diagnose import diagnose
from src.stages.evaluate.run import evaluate
from src.stages.job import compose_job
from src.stages.merge.recorded import recorded_merge
from src.stages.merge.run import merge, merge_all
from src.stages.merge.verify import verify
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl
from tests.stages.evaluate.test_run import FEW, table


def point(world, place, *overrides):
    return compose_job("merge", [*overrides, f"output_root={world}", f"output={place}"])


@pytest.mark.parametrize("keys", [("merge=della", "merge.weight=0.3"), ("merge=ties", "merge.dtype=bfloat16")])
def test_a_lazy_merge_answers_and_scores_as_the_written_one(world, tmp_path, keys):
    written = merge(point(world, tmp_path / "written", *keys))
    lazy = merge(point(world, tmp_path / "lazy", *keys, "save_weights=false"))
    assert not list(lazy.glob("*.safetensors"))
    answers, scores = [], []
    for place in (written, lazy):
        overrides = [f"checkpoint={place}", "split=validation", *FEW, f"output_root={tmp_path}/{place.name}"]
        directory = evaluate(compose_job("evaluate", overrides))
        scores.append(table(directory)["value"].to_dict())
        answers.append([row["completion"] for row in read_jsonl(directory / "samples-pocket_codegen.jsonl")])
    assert answers[0] == answers[1]
    assert any(answers[0])
    assert scores[0] == scores[1]


def test_the_record_of_a_lazy_merge_holds_its_strength(world, tmp_path):
    jobs = [
        point(world, tmp_path / "written", "merge=ties"),
        point(world, tmp_path / "lazy", "merge=ties", "save_weights=false"),
    ]
    records = [json.loads((place / "run.json").read_text())["results"] for place in merge_all(jobs)]
    assert records[0]["strength"] == records[1]["strength"]
    assert records[0]["recipe"] == records[1]["recipe"]
    assert [record["weights_saved"] for record in records] == [True, False]


def test_one_model_takes_lazy_and_written_merges_in_turn(world, tmp_path):
    first = merge(point(world, tmp_path / "first", "merge=linear", "merge.weight=0.9", "save_weights=false"))
    second = merge(point(world, tmp_path / "second", "merge=linear", "merge.weight=0.2"))
    generator = HFGenerator()
    generator.load_lazy_merge(recorded_merge(first, "checkpoint"))
    model = generator.model
    name = "model.layers.1.mlp.up_proj.weight"
    one = model.state_dict()[name].clone()
    generator.load(second)
    assert generator.model is model
    assert model.state_dict()[name].equal(Checkpoint(second).tensor(name))
    generator.load_lazy_merge(recorded_merge(first, "checkpoint"))
    assert generator.model is model
    assert model.state_dict()[name].equal(one)


@pytest.fixture
def own_parents(world, tmp_path):
    """A copy of the codegen specialist to damage, and the overrides of a merge that has it as a parent."""
    parent = tmp_path / "codegen"
    shutil.copytree(world / "train" / "pocket-specialist-codegen-s0", parent)
    others = [f"base={world}/train/pocket-base-s0", f"specialists.codesum={world}/train/pocket-specialist-codesum-s0"]
    return parent, [f"specialists.codegen={parent}", *others]


def copy_weights_over(world, parent):
    shutil.copy(world / "train" / "pocket-mix-s0" / "model.safetensors", parent / "model.safetensors")


def scored(place, tmp_path):
    return evaluate(
        compose_job("evaluate", [f"checkpoint={place}", "split=validation", *FEW, f"output_root={tmp_path}"])
    )


def test_a_lazy_merge_whose_parents_are_gone_is_refused(world, tmp_path, own_parents):
    parent, overrides = own_parents
    lazy = merge(point(world, tmp_path / "lazy", *overrides, "save_weights=false"))
    shutil.rmtree(parent)
    with pytest.raises(UserError, match=rf"its parents have changed.*codegen is missing \({parent}\)"):
        scored(lazy, tmp_path)
    assert not (tmp_path / "evaluate").exists()


@pytest.mark.parametrize("recorded", [True, False], ids=["a run", "a checkpoint from elsewhere"])
def test_weights_copied_over_a_parent_of_a_lazy_merge_are_refused(world, tmp_path, own_parents, recorded):
    parent, overrides = own_parents
    if not recorded:
        (parent / "run.json").unlink()
    lazy = merge(point(world, tmp_path / "lazy", *overrides, "save_weights=false"))
    copy_weights_over(world, parent)
    with pytest.raises(UserError, match=rf"checkpoint={lazy}.*codegen.*{parent}.*model\.safetensors"):
        scored(lazy, tmp_path)
    assert not (tmp_path / "evaluate").exists()
    assert not (tmp_path / "samples").exists()


def test_another_run_in_the_place_of_a_parent_is_refused(world, tmp_path, own_parents):
    """Its own record holds, but it is not what the merge was made of."""
    parent, overrides = own_parents
    lazy = merge(point(world, tmp_path / "lazy", *overrides, "save_weights=false"))
    shutil.rmtree(parent)
    shutil.copytree(world / "train" / "pocket-mix-s0", parent)
    with pytest.raises(UserError, match=rf"codegen has another {parent}/model\.safetensors"):
        scored(lazy, tmp_path)


def test_the_samples_of_a_lazy_merge_are_not_those_of_a_parent_that_was_replaced(world, tmp_path, own_parents):
    """Scored before: neither its finished evaluation nor its samples answer for other weights."""
    parent, overrides = own_parents
    lazy = merge(point(world, tmp_path / "lazy", *overrides, "save_weights=false"))
    directory = scored(lazy, tmp_path)
    samples = sorted(path.name for path in (tmp_path / "samples").iterdir())
    copy_weights_over(world, parent)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        scored(lazy, tmp_path)
    shutil.rmtree(directory)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        scored(lazy, tmp_path)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == samples


def test_verify_refuses_a_parent_that_was_replaced(world, tmp_path, own_parents):
    parent, overrides = own_parents
    written = merge(point(world, tmp_path / "written", *overrides))
    assert verify(written).holds
    copy_weights_over(world, parent)
    with pytest.raises(UserError, match=rf"verify={written}.*codegen.*model\.safetensors"):
        verify(written)


@pytest.mark.parametrize("use", ["verify", "specialist", "variant"])
def test_what_needs_weights_says_how_to_write_them(world, tmp_path, use):
    lazy = merge(point(world, tmp_path / "lazy", "merge=ties", "save_weights=false"))
    uses = {
        "verify": lambda: verify(lazy),
        "specialist": lambda: merge(point(world, tmp_path / "next", f"specialists.codegen={lazy}")),
        "variant": lambda: diagnose(compose_job("diagnose", [f"variants.x={lazy}", f"output_root={world}"])),
    }
    with pytest.raises(
        UserError, match=r"without weights \(save_weights=false\); write .* with: python merge.py merge=ties"
    ):
        uses[use]()
