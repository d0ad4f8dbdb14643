"""Merge points without weights on disk, from `merge.py write=false` to their scores."""

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
def test_a_live_point_answers_and_scores_as_the_written_one(world, tmp_path, keys):
    written = merge(point(world, tmp_path / "written", *keys))
    live = merge(point(world, tmp_path / "live", *keys, "write=false"))
    assert not list(live.glob("*.safetensors"))
    answers, scores = [], []
    for place in (written, live):
        overrides = [f"checkpoint={place}", "split=validation", *FEW, f"output_root={tmp_path}/{place.name}"]
        directory = evaluate(compose_job("evaluate", overrides))
        scores.append(table(directory)["value"].to_dict())
        answers.append([row["completion"] for row in read_jsonl(directory / "samples-pocket_codegen.jsonl")])
    assert answers[0] == answers[1]
    assert any(answers[0])
    assert scores[0] == scores[1]


def test_the_record_of_a_live_point_holds_its_strength(world, tmp_path):
    jobs = [
        point(world, tmp_path / "written", "merge=ties"),
        point(world, tmp_path / "live", "merge=ties", "write=false"),
    ]
    records = [json.loads((place / "run.json").read_text())["results"] for place in merge_all(jobs)]
    assert records[0]["strength"] == records[1]["strength"]
    assert records[0]["recipe"] == records[1]["recipe"]
    assert [record["written"] for record in records] == [True, False]


def test_one_model_takes_live_and_written_points_in_turn(world, tmp_path):
    first = merge(point(world, tmp_path / "first", "merge=linear", "merge.weight=0.9", "write=false"))
    second = merge(point(world, tmp_path / "second", "merge=linear", "merge.weight=0.2"))
    generator = HFGenerator()
    generator.load_point(recorded_merge(first, "checkpoint"))
    model = generator.model
    name = "model.layers.1.mlp.up_proj.weight"
    one = model.state_dict()[name].clone()
    generator.load(second)
    assert generator.model is model
    assert model.state_dict()[name].equal(Checkpoint(second).tensor(name))
    generator.load_point(recorded_merge(first, "checkpoint"))
    assert generator.model is model
    assert model.state_dict()[name].equal(one)


def test_a_live_point_whose_parents_changed_is_refused(world, tmp_path):
    parent = tmp_path / "codegen"
    shutil.copytree(world / "train" / "pocket-specialist-codegen-s0", parent)
    others = [f"base={world}/train/pocket-base-s0", f"specialists.codesum={world}/train/pocket-specialist-codesum-s0"]
    live = merge(point(world, tmp_path / "live", f"specialists.codegen={parent}", *others, "write=false"))
    shutil.rmtree(parent)
    with pytest.raises(UserError, match=r"parents that are gone.*codegen"):
        evaluate(compose_job("evaluate", [f"checkpoint={live}", *FEW, f"output_root={tmp_path}"]))
    assert not (tmp_path / "evaluate").exists()


@pytest.mark.parametrize("use", ["verify", "specialist", "variant"])
def test_what_needs_weights_says_how_to_write_them(world, tmp_path, use):
    live = merge(point(world, tmp_path / "live", "merge=ties", "write=false"))
    uses = {
        "verify": lambda: verify(live),
        "specialist": lambda: merge(point(world, tmp_path / "next", f"specialists.codegen={live}")),
        "variant": lambda: diagnose(compose_job("diagnose", [f"variants.x={live}", f"output_root={world}"])),
    }
    with pytest.raises(
        UserError, match=r"without weights \(write=false\); write them with: python merge.py merge=ties"
    ):
        uses[use]()
