import pandas as pd
import pytest

from src.stages.benchmarks import task_benchmarks
from src.stages.compare.run import compare
from src.stages.evaluate.run import evaluate, show
from src.stages.job import compose_job
from src.stages.merge.run import merge
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl
from tests.stages.evaluate.test_run import table

SAME_ROUNDING = "benchmark.micro_batch=4"  # as the runs of `world` were validated


def measured(root, checkpoint, *overrides):
    return evaluate(
        compose_job("evaluate", [f"checkpoint={checkpoint}", "benchmark=nll", *overrides, f"output_root={root}"])
    )


def test_it_is_the_validation_loss_of_training(world, tmp_path, capsys):
    for name in ("pocket-mix-s0", "pocket-specialist-codegen-s0"):
        validated = [row for row in read_jsonl(world / "train" / name / "metrics.jsonl") if "val/codegen/loss" in row]
        directory = measured(tmp_path, world / "train" / name, SAME_ROUNDING)
        scores = table(directory)["value"]
        for task in ("codegen", "codesum"):
            assert scores[f"nll_{task}", "nll"] == pytest.approx(validated[-1][f"val/{task}/loss"], rel=1e-12)
            rows = pd.read_csv(directory / f"losses-nll_{task}.csv")
            total = (rows["nll"] * rows["answer_tokens"]).sum() / rows["answer_tokens"].sum()
            assert total == pytest.approx(scores[f"nll_{task}", "nll"])
    show(directory)
    assert f"{scores['nll_codegen', 'nll']:.4f}" in capsys.readouterr().out  # in nats, not in percent


def test_a_lazy_merge_has_the_loss_of_the_written_one(world, tmp_path):
    keys = ["merge=ties", "merge.weight=0.3", f"output_root={world}"]
    places = [
        merge(compose_job("merge", [*keys, f"output={tmp_path}/{name}", f"save_weights={save}"]))
        for name, save in (("written", "true"), ("lazy", "false"))
    ]
    few = ["benchmark.limit=8", "benchmark.task=codesum"]
    found = [table(measured(tmp_path / place.name, place, *few)) for place in places]
    assert list(found[0].index) == [("nll_codesum", "nll")]
    assert found[0]["n"].tolist() == [8]
    assert found[0]["value"].tolist() == found[1]["value"].tolist()


def test_two_models_are_compared_row_by_row(world, tmp_path):
    few = ["benchmark.limit=40", "benchmark.task=codegen"]
    base, own = (
        measured(tmp_path, world / "train" / name, *few) for name in ("pocket-base-s0", "pocket-specialist-codegen-s0")
    )
    directory = compare(compose_job("compare", [f"reference={base}", f"runs=[{own}]", f"output={tmp_path}/compared"]))
    [row] = pd.read_csv(directory / "comparison.csv").to_dict("records")
    assert row["difference"] < 0
    assert row["verdict"] == "better"


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["checkpoint=x", "benchmark.task=codegn"], r"benchmark\.task 'codegn', did you mean 'codegen'"),
        (["samples=x"], r"benchmark=nll .*checkpoint=DIR.*samples="),
        (["checkpoint=x", "formats=[lm_eval]"], r"benchmark=nll .*formats="),
        (["checkpoint=x", "contamination=x"], r"benchmark=nll .*contamination="),
        (["checkpoint=x", "split=test"], r"split=test: benchmark nll has only validation"),
        (["generator=openai", "generator.base_url=http://localhost:1", "generator.model=m"], r"benchmark=nll .*server"),
    ],
)
def test_what_has_no_loss_is_refused(tmp_path, overrides, match):
    (tmp_path / "x").mkdir()
    here = [word.replace("=x", f"={tmp_path}/x") for word in overrides]
    with pytest.raises(UserError, match=match):
        evaluate(compose_job("evaluate", [*here, "benchmark=nll", f"output_root={tmp_path}"]))


def test_a_task_does_not_list_it_among_its_scores():
    job = compose_job("evaluate", ["tasks.codesum.benchmarks.pocket=[pocket_codesum,nll]"])
    with pytest.raises(UserError, match=r"tasks.*benchmarks lists nll.*benchmark=nll"):
        task_benchmarks(job)
