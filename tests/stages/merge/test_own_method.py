"""The method of docs/merging.md in files of the user: merged, verified, evaluated from its recipe, and studied."""

import json
import os
import re
import sys

import pytest
import torch

from src.checkpoints import Checkpoint
from src.evaluation.generators.hf import HFGenerator
from src.stages.job import compose_job
from src.stages.merge.recorded import recorded_merge
from src.stages.merge.run import merge
from src.stages.merge.verify import verify
from src.utils.errors import UserError
from tests.stages.merge.test_run import ROOT, parents, script

PAGE = (ROOT / "docs" / "merging.md").read_text()


def block(language, first_line):
    """The block of docs/merging.md that begins with this comment."""
    [found] = re.findall(rf"```{language}\n(# {re.escape(first_line)}.*?)```", PAGE, flags=re.DOTALL)
    return found


STUDY = [
    *("executor=serial", "study.cells=null", "study.grids=null", "study.choice=generate", "study.random_methods=[]"),
    *("study.methods=[tempered]", "study.weights=[0.3]", "dry_run=true"),
]


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "conf" / "merge").mkdir(parents=True)
    (tmp_path / "conf" / "merge" / "tempered.yaml").write_text(block("yaml", "my_conf/merge/tempered.yaml"))
    (tmp_path / "my_methods.py").write_text(block("python", "my_methods.py"))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_methods", None)


def job(own, world, name, *overrides):
    path = f"hydra.searchpath=[file://{own}/conf]"
    return compose_job("merge", [path, "merge=tempered", *overrides, f"output_root={world}", f"output={own}/{name}"])


def test_it_is_merged_and_verified(own, world):
    merged = merge(job(own, world, "merged", "merge.weight=0.25"))
    base, codegen, codesum = parents(world)
    name = base.names[0]
    expected = (0.0625 * codegen.tensor(name) + 0.5625 * codesum.tensor(name)) / 0.625
    assert torch.allclose(Checkpoint(merged).tensor(name), expected, atol=1e-6)
    assert json.loads((merged / "run.json").read_text())["results"]["recipe"]["_target_"] == "my_methods.tempered"
    assert verify(merged).holds


def test_its_recipe_is_merged_into_a_model(own, world):
    lazy = merge(job(own, world, "lazy", "save_weights=false"))
    written = merge(job(own, world, "written"))
    generator = HFGenerator()
    generator.load_lazy_merge(recorded_merge(lazy, "checkpoint"))
    name = "model.layers.1.mlp.up_proj.weight"
    assert generator.model.state_dict()[name].equal(Checkpoint(written).tensor(name))


def test_a_method_that_is_gone(own, world):
    merged = merge(job(own, world, "merged"))
    sys.modules.pop("my_methods")
    (own / "my_methods.py").write_text("")
    with pytest.raises(UserError, match=r"my_methods\.tempered"):
        verify(merged)


def test_a_bad_value_names_its_key(own, world):
    with pytest.raises(UserError, match=r"merge.power must be a number, got 'two'"):
        merge(job(own, world, "bad", "merge.power=two"))


def test_its_namesake_in_mergekit_is_not_taken(own, world):
    with pytest.raises(UserError, match=r"merge.engine=mergekit.*my_methods\.tempered"):
        merge(job(own, world, "bad", "merge.engine=mergekit"))


@pytest.mark.slow
def test_a_study_takes_it(own, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(own) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    path = f"hydra.searchpath=[file://{own}/conf]"
    printed = script(str(ROOT / "study.py"), path, "study=pocket", *STUDY)
    assert printed.returncode == 0, printed.stderr
    assert "merge=tempered" in printed.stdout
