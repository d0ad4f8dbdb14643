import pytest

from src.search.loop import Objective
from src.stages.build import build
from src.stages.job import compose_job
from src.stages.search.objectives import Objectives
from src.utils.errors import UserError


def objectives(*overrides):
    job = compose_job("merge", ["search=random", *overrides])
    return Objectives.of(job, build(job.cfg.search))


def test_losses_are_minimized_and_scores_maximized():
    found = objectives("search.objective=[loss.codesum,pocket_codesum/rouge_l]")
    assert found.objectives == [Objective("loss.codesum", True), Objective("pocket_codesum/rouge_l", False)]
    assert (list(found.sources), list(found.nodes), found.averaged) == (["codegen", "codesum"], ["pocket_codesum"], [])


def test_the_average_is_over_the_benchmarks_of_all_tasks():
    found = objectives("search.objective=average")
    assert found.averaged == list(found.nodes) == ["pocket_codegen", "pocket_codesum"]
    assert not found.sources


@pytest.mark.parametrize(
    ("objective", "match"),
    [
        ("humaneval", r"search\.objective=humaneval: .*no validation split.*test"),
        ("los", r"search\.objective 'los', did you mean 'loss'"),
        ("pocket_codesum/rouge", r"search\.objective 'pocket_codesum/rouge', did you mean 'pocket_codesum/rouge_l'"),
        ("[loss,loss]", r"search\.objective: expected .*different"),
        ("[]", r"search\.objective: expected one"),
    ],
)
def test_a_bad_objective_is_one_line(objective, match):
    with pytest.raises(UserError, match=match):
        objectives(f"search.objective={objective}").identity()


def test_a_loss_needs_a_generator_that_has_a_network():
    found = objectives("search.evaluate_overrides=['generator=vllm']")
    with pytest.raises(UserError, match=r"search\.objective=loss needs generator=hf"):
        found.generator()
