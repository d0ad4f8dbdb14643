"""Names and places of the checkpoints that a merge or a diagnosis reads."""

import pytest

from src.stages.checkpoints import specialist_names, trained_directory
from src.stages.job import compose_job


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], ["codegen", "codesum"]),
        (["tasks=[codesum,codegen_fair]"], ["codesum", "codegen"]),
        (["specialists.codesum=/b", "specialists.codegen=/a"], ["codegen", "codesum"]),
        (["tasks=[codesum,codegen]", "specialists.codegen=/a", "specialists.codesum=/b"], ["codesum", "codegen"]),
        (["specialists.math=/a", "specialists.codegen=/b"], ["math", "codegen"]),  # not all of them are tasks
    ],
)
def test_the_first_specialist_is_that_of_the_first_task(overrides, names):
    assert specialist_names(compose_job("merge", overrides).cfg) == names


def test_specialists_of_other_tasks_stand_in_other_places():
    usual, other = (compose_job("merge", typed).cfg for typed in ([], ["tasks=[codegen_fair,codesum]"]))
    places = [trained_directory(cfg, "specialist", "codesum").name for cfg in (usual, other)]
    assert places == ["pocket-specialist-codesum-s0", "pocket-specialist-codesum-codegen_fair+codesum-s0"]
    assert trained_directory(other, "base", None).name == "pocket-base-s0"
