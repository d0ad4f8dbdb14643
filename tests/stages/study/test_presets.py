"""Plans of the presets and experiments, compared with the facts of the study in ../shared/paper."""

from __future__ import annotations

import csv
from functools import cache
from typing import Any

import pytest

from src.config.groups import CONF
from src.config.schemas import register_schemas
from src.stages.benchmarks import benchmark_nodes
from src.stages.build import build
from src.stages.job import compose_job
from src.stages.study.checks import check_study
from src.stages.study.dry_run import command_lines
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import StudyPlan
from src.utils.errors import UserError
from tests.data.shared import needs_shared, shared

MODELS = {
    "qwen1.5b": "Qwen/Qwen2.5-Coder-1.5B-Instruct",
    "qwen7b": "Qwen/Qwen2.5-Coder-7B-Instruct",
    "deepseek1.3b": "deepseek-ai/deepseek-coder-1.3b-instruct",
    "deepseek7b": "deepseek-ai/deepseek-coder-7b-instruct-v1.5",
}
NAMES = {
    "Qwen2.5-Coder 1.5B": "qwen1.5b", "Qwen2.5-Coder 7B": "qwen7b", "Qwen2.5-Coder 14B": "qwen14b",
    "DeepSeek-Coder 1.3B": "deepseek1.3b", "DeepSeek-Coder 7B": "deepseek7b",
}  # fmt: skip

FEW = ["study.methods=[linear,dare]", "study.weights=[0.3,0.5]", "study.random_methods=[]"]
TIES = ["study.methods=[ties]", "study.weights=[0.3]", "study.random_methods=[]"]  # where any merge will do


@cache
def jobs(*overrides: str) -> StudyJobs:
    """The jobs of a study, which the tests read and do not change."""
    cfg = compose_job("study", list(overrides)).cfg
    return StudyJobs(build(cfg.study), cfg.seed, cfg.output_root)


def settings(found: StudyJobs) -> dict[str, tuple[Any, ...]]:
    """run -> learning rate, batch, length, epochs, packing, selection, base."""
    configs = {subject.task or subject.kind: subject.job.cfg for subject in found.trained[1:]}
    return {
        run: (float(c.strategy.learning_rate), c.strategy.batch_size, c.strategy.max_length, c.strategy.epochs,
              c.strategy.packing, c.checkpoint.select, c.model.path)
        for run, c in configs.items()
    }  # fmt: skip


@pytest.mark.parametrize(("model", "rate", "batch"), [
    ("qwen1.5b", 1e-5, 128), ("deepseek1.3b", 1e-5, 128), ("qwen7b", 5e-6, 64), ("deepseek7b", 5e-6, 64),
])  # fmt: skip
def test_paper_text_is_table_1(model: str, rate: float, batch: int) -> None:
    one = (rate, batch, 4096, 2, False, "last", MODELS[model])
    found = jobs("study=paper_text", f"study.model={model}", *TIES)
    assert settings(found) == {"codegen": one, "codesum": one, "mix": one}
    sources = found.trained[-1].job.cfg.tasks
    assert list(sources.codesum.sources.real.codexglue.languages) == ["python"]
    assert list(sources.codegen.sources.real) == ["kodcode"]


@pytest.mark.parametrize(("model", "gen", "summing", "mix"), [
    ("qwen1.5b", (1e-5, 192, 4096), (5e-6, 256, 1024), (1e-5, 192, 4096)),
    ("deepseek1.3b", (1e-5, 128, 4096), (5e-6, 256, 1024), (1e-5, 128, 4096)),
    ("qwen7b", (5e-6, 128, 4096), (1e-6, 128, 1024), (5e-6, 128, 4096)),
    ("deepseek7b", (5e-6, 128, 2048), (1e-6, 128, 1024), (5e-6, 128, 2048)),
])  # fmt: skip
def test_paper_authors_is_what_was_run(model: str, gen: Any, summing: Any, mix: Any) -> None:
    found = jobs("study=paper_authors", f"study.model={model}", *TIES)
    rest = (2, False, "best", MODELS[model])
    assert settings(found) == {"codegen": gen + rest, "codesum": summing + rest, "mix": mix + rest}
    cfg = found.trained[-1].job.cfg
    assert list(cfg.tasks.codesum.sources.real.codexglue.languages) == ["python", "java"]
    assert dict(cfg.tasks.codegen.sources.real.mbpp.keep) == {"task_id": [601, 974]}
    held_out = [source.held_out for task in cfg.tasks.values() for source in task.sources.real.values()]
    assert held_out == [0.1, 0.1, 0.1]
    assert cfg.optimizer.weight_decay == 0.0
    assert (cfg.optimizer.warmup, cfg.optimizer.clip_norm) == (0.03, 1.0)
    trained, merged = found.trained[-1], found.merge_point("ties", 0.3, 0)
    for subject, penalty, tokens in ((trained, 1.1, 1024), (merged, 1.0, 2048)):
        decoding = benchmark_nodes(found.evaluation(subject, "x", "test"))["codexglue"].decoding
        assert (decoding.repetition_penalty, decoding.max_new_tokens) == (penalty, tokens)


def test_fair_gives_both_sides_equal_tokens_rates_and_questions() -> None:
    found = jobs("study=fair", "study.model=qwen7b", *TIES)
    configs = {subject.task or subject.kind: subject.job.cfg for subject in found.trained[1:]}
    assert {cfg.strategy.learning_rate for cfg in configs.values()} == {5e-6}
    tokens = {run: cfg.strategy.tokens for run, cfg in configs.items()}
    assert tokens["codegen"] == tokens["codesum"] == tokens["mix"] / 2
    assert (configs["mix"].mix.ratio, configs["mix"].mix.by) == (0.5, "tokens")
    assert all(cfg.data.decontaminate and cfg.strategy.batch_tokens == 65536 for cfg in configs.values())
    trained, merged = (
        benchmark_nodes(found.evaluation(s, "x", "test"))
        for s in (found.trained[-1], found.merge_point("ties", 0.3, 0))
    )
    assert trained == merged
    assert list(trained) == ["humaneval", "mbpp_held_out", "codexglue"]
    assert trained["codexglue"].decoding.repetition_penalty == 1.0


@pytest.mark.parametrize(
    ("study", "mbpp", "sanitize"),
    [
        ("paper_text", "mbpp", "evalplus"),
        ("paper_authors", "mbpp", "evalplus"),
        ("fair", "mbpp_held_out", "fallback"),
    ],
)
def test_presets_choose_on_problems_of_no_test_set(study: str, mbpp: str, sanitize: str) -> None:
    """Those of `paper_*` sanitize as EvalPlus, as the published scores."""
    found = jobs(f"study={study}", *TIES)
    validation, test = (
        benchmark_nodes(found.evaluation(found.merge_point("ties", 0.3, 0), "x", split))
        for split in ("validation", "test")
    )
    code = {"validation": ["kodcode"], "test": ["humaneval", mbpp]}
    for split, nodes in {"validation": validation, "test": test}.items():
        assert [name for name, node in nodes.items() if "sanitize" in node] == code[split]
        assert {nodes[name].sanitize for name in code[split]} == {sanitize}


def test_a_model_without_a_recipe_is_named() -> None:
    with pytest.raises(
        Exception, match=r"study.model_overrides has no entry for study.model=qwen14b, only for qwen1.5b"
    ):
        jobs("study=paper_authors", "study.model=qwen14b")


def test_a_local_copy_is_the_base_of_every_line() -> None:
    found = jobs("study=fair", "study.overrides=['model.path=/weights/qwen']", *FEW)
    lines = command_lines(found)
    assert lines[0] == "# the base is /weights/qwen"
    assert all("model.path=/weights/qwen" in line for line in lines[1:])
    assert not any("base=" in line for line in lines)


def test_the_lines_of_a_study_before_it_is_run() -> None:
    found = jobs("study=paper_text", *FEW)
    lines = command_lines(found)
    assert lines[0] == "# the base is Qwen/Qwen2.5-Coder-1.5B-Instruct"
    assert [line.split()[1] for line in lines[1:] if not line.startswith("#")] == [
        *["train.py"] * 3, *["merge.py"] * 4, *["evaluate.py"] * (4 + 4), *["evaluate.py"] * 4,
    ]  # fmt: skip
    codegen = lines[1].split()
    assert codegen[2:4] == ["strategy=specialist", "task=codegen"]
    place = next(word for word in lines[4].split() if word.startswith("specialists.codegen=")).split("=")[1]
    assert f"checkpoint={place} " in lines[9]
    assert len({line for line in lines if not line.startswith("#")}) == len(lines) - 4


@pytest.mark.slow
def test_studies_of_one_model_never_share_the_place_of_a_merge() -> None:
    places = []
    for preset in ("paper_text", "paper_authors", "fair"):
        found = command_lines(jobs(f"study={preset}", "study.model=qwen7b", *FEW))
        words = [word for line in found for word in line.split() if word.startswith("checkpoint=runs/merge")]
        assert len(words) == len(set(words)) == (5 if preset == "fair" else 4)
        places += words
    assert len(set(places)) == len(places)


EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def swept(name: str) -> list[list[str]]:
    """The overrides of each study that `python study.py experiment=NAME` runs."""
    from itertools import product

    from hydra import compose, initialize_config_dir

    register_schemas()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = compose("study", overrides=[f"experiment={name}"], return_hydra_config=True).hydra
    params = hydra.sweeper.params or {}
    assert bool(params) == (str(hydra.mode) == "RunMode.MULTIRUN")
    axes = [[f"{key}={value}" for value in str(values).split(",")] for key, values in params.items()]
    return [[f"experiment={name}", *choice] for choice in product(*axes)]


def test_every_table_and_figure_has_its_experiment() -> None:
    assert sorted(["h100", *(f"table{n}" for n in range(3, 10)), *(f"figure{n}" for n in (2, 3, 4))]) == EXPERIMENTS


QUICK = ("figure2", "table5")  # one of each form; composing the jobs of the others takes seconds each


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]
)
def test_every_experiment_plans(name: str) -> None:
    for overrides in swept(name):
        found = jobs(*overrides)
        assert found.plan.name == name
        assert found.trained[0].job.cfg.model.name == found.plan.model


@needs_shared
@pytest.mark.parametrize("table", ["5", "9", *(pytest.param(n, marks=pytest.mark.slow) for n in "3678")])
def test_an_experiment_expands_to_the_rows_of_its_table(table: str) -> None:
    """Each row of the published table is a subject of one of the experiment's studies."""
    with shared("paper", "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == table]
    planned = set[tuple[str, str, str]]()
    for overrides in swept(f"table{table}"):
        found = jobs(*overrides, *(["study.weights=[0.3]"] if table in "39" else []))  # they print no weights
        model = found.plan.model
        planned |= {(model, subject.kind, "") for subject in found.trained}
        for subject in found.grid:
            planned |= {(model, str(subject.method), f"{subject.weight:g}"), (model, str(subject.method), "")}
    words = {"Base Model": "base", "SFT-CodeGen/Sum": "specialist", "Data-Mixture SFT": "mix"}
    wanted = {
        (NAMES[row["model"]], words.get(row["method"], row["method"].removesuffix(" Merge").lower()),
         row["weight_codegen"] if table in "5678" else "")
        for row in rows
    }  # fmt: skip
    assert wanted <= planned
    grid = {point for point in planned if point[2]}
    assert table in "39" or {point for point in wanted if point[2]} == grid


@needs_shared
@pytest.mark.slow
def test_table_4_trains_only_the_specialists_of_each_share() -> None:
    with shared("paper", "data_scale.csv").open() as file:
        wanted = {(NAMES[row["model"]], share, row["metric"]) for row in csv.DictReader(file)
                  for share in (0.25, 0.5, 1.0)}  # fmt: skip
    measures = {"codegen": "humaneval_plus", "codesum": "bleu4"}
    planned = set()
    for overrides in swept("table4"):
        found = jobs(*overrides)
        assert [subject.kind for subject in found.trained] == ["base", "specialist", "specialist"]
        assert not found.grid
        for subject in found.trained[1:]:
            planned.add((found.plan.model, subject.job.cfg.data.fraction, measures[str(subject.task)]))
    assert planned == wanted


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mixture": False}, "merges with a mixture or has neither; got .*study.mixture=false"),
        ({"fraction": 0.0}, "study.fraction must be above 0, got 0.0"),
        ({"debug": "shrnk"}, "unknown study.debug 'shrnk', did you mean 'shrink'"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(changed: dict[str, Any], words: str) -> None:
    plan = jobs("study=fair").plan
    with pytest.raises(UserError, match=words):
        StudyPlan(**vars(plan) | changed)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["+study.run_overrides.bugfix=[]"],
            r"run_overrides .* names bugfix, expected a task \(codegen, codesum\) or mix",
        ),
        (["~study.headline.codegen"], "study.headline lacks a metric for codegen"),
    ],
)
def test_keys_that_name_tasks_fit_the_tasks(overrides: list[str], words: str) -> None:
    found = jobs("study=fair", *overrides)
    with pytest.raises(UserError, match=words):
        check_study(found, inputs=False)
