"""A benchmark is one YAML file: composed by name, changed by `benchmarks.NAME.key=value`, its keys checked."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config.schemas import register_schemas
from src.stages.benchmarks import benchmark_nodes, with_split
from src.stages.job import CONF, Job, compose_job
from src.utils.errors import UserError


def nodes(*overrides):
    return benchmark_nodes(with_split(compose_job("evaluate", ["checkpoint=x", *overrides])))


def test_the_benchmarks_of_the_tasks_with_changes():
    found = nodes("benchmarks.pocket_codesum.decoding.max_new_tokens=7", "+benchmarks.pocket_codesum.reference=docs")
    assert list(found) == ["pocket_codegen", "pocket_codesum"]
    assert (found["pocket_codesum"].decoding.max_new_tokens, found["pocket_codesum"].reference) == (7, "docs")
    assert found["pocket_codegen"].decoding.max_new_tokens == 96


def test_one_benchmark_takes_both_forms_of_changes():
    changes = ["benchmark=codexglue_python", "benchmark.limit=3", "benchmarks.codexglue_python.corpus=[]"]
    [(name, node)] = nodes(*changes).items()
    assert (name, node.limit, list(node.corpus), list(node.rows.languages)) == ("codexglue_python", 3, [], ["python"])


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        ("benchmarks.pocket_codegn.limit=1", UserError, "benchmark .pocket_codegn., did you mean .pocket_codegen."),
        ("benchmarks.pocket_codegen.limt=1", ConfigCompositionException, r"benchmarks\.pocket_codegen\.limt"),
        (
            "benchmarks.humaneval.decoding.stopp=x",
            ConfigCompositionException,
            r"benchmarks\.humaneval\.decoding\.stopp",
        ),
    ],
)
def test_typos_are_refused(override, error, words):
    with pytest.raises(error, match=words):
        nodes(override)


def test_a_typo_in_a_file_is_refused():
    job = compose_job("evaluate", ["checkpoint=x"])
    OmegaConf.update(job.cfg, "benchmarks.pocket_codegen", {"limt": 1})
    with pytest.raises(OmegaConfBaseException, match="limt"):
        benchmark_nodes(job)


def test_a_benchmark_in_a_directory_of_the_users(tmp_path):
    """`--config-dir DIR` and `hydra.searchpath=[DIR]` reach it, also where a task names it."""
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "mine.yaml").write_text("defaults: [humaneval, _self_]\nname: mine\nk: [1, 5]\n")
    register_schemas()
    overrides = ["checkpoint=x", "tasks.codegen.benchmarks.pocket=[mine]", "benchmarks.mine.decoding.samples=9"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        there = [f"hydra.searchpath=[{tmp_path}]", *overrides]
        job = Job("evaluate", tuple(there), compose("evaluate", overrides=there))
    found = benchmark_nodes(with_split(job))["mine"]
    assert (found.name, list(found.k), found.decoding.samples, found.splits) == ("mine", [1, 5], 9, ["test"])
