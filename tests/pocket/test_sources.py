"""Training rows: the same prompts as at test time, no answers in prompts, nothing of the held-out splits."""

from __future__ import annotations

import pytest

from src.pocket.benchmarks import problems, summary_rows
from src.pocket.corpus import corpus
from src.pocket.programs.render import Program
from src.pocket.sources import FAMILIES, PocketSource, codegen_example, codesum_example
from src.utils.errors import UserError
from tests.pocket.conftest import Run


@pytest.mark.parametrize("task", ["base", "codegen", "codesum"])
def test_ids_are_unique_and_rows_repeat(task: str) -> None:
    rows = PocketSource(task).examples("train")
    assert len({row.id for row in rows}) == len(rows) == 4 * corpus(0).train
    assert rows == PocketSource(task).examples("train")
    assert len(PocketSource(task).examples("test")) == corpus(0).held_out


def test_prompts_are_those_of_the_benchmarks() -> None:
    program = Program(corpus(0).compositions("test")[0], "solve", "Return it.", ("return 1",))
    (parameters,) = [", ".join(program.composition.parameters)]
    signature = f"def solve({parameters}):\n"
    generated = codegen_example("a", program, "{prompt}")
    assert generated.prompt == f'{signature}    """Return it."""\n'
    assert generated.answer == "    return 1"
    summarized = codesum_example("b", program, "Explain:\n{code}")
    assert summarized.prompt == f"Explain:\n{signature}    return 1"
    assert summarized.answer == "Return it."
    assert problems("test", 1)[0]["prompt"].endswith('"""\n')
    assert summary_rows("test", 1)[0]["code"].endswith(problems("test", 1)[0]["canonical_solution"][-1:].strip())


def test_codegen_rows_continue_to_a_program_and_codesum_rows_hide_the_docstring(run: Run) -> None:
    for row in PocketSource("codegen").examples("validation"):
        assert row.prompt is not None
        assert row.task == "codegen"
        run(row.prompt + row.answer, row.prompt[4 : row.prompt.index("(")], [])
    for row in PocketSource("codesum").examples("validation"):
        assert row.prompt is not None
        assert '"""' not in row.prompt
        assert row.answer not in row.prompt
        assert not row.prompt.endswith("\n")


def test_base_rows_are_raw_programs_and_a_share_of_both_tasks() -> None:
    rows = PocketSource("base", task_share=0.2).examples("train")
    tasks = {task: [row for row in rows if row.task == task] for task in ("base", "codegen", "codesum")}
    assert all(row.prompt is None and row.answer.startswith("def ") for row in tasks["base"])
    assert all(row.prompt is not None for row in tasks["codegen"] + tasks["codesum"])
    for task in ("codegen", "codesum"):
        assert len(tasks[task]) == pytest.approx(0.1 * len(rows), rel=0.2)
    assert all(row.prompt is None for row in PocketSource("base", task_share=0.0).examples("validation"))


def test_the_tasks_render_programs_of_their_own() -> None:
    answers = {row.answer for row in PocketSource("codegen").examples("train")}
    base = {row.answer for row in PocketSource("base", task_share=0.0).examples("train")}
    assert answers.isdisjoint(base)
    first, second = (PocketSource("codesum", seed=seed).examples("train") for seed in (0, 1))
    assert len({row.prompt for row in first} & {row.prompt for row in second}) < 0.2 * len(first)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="unknown pocket task 'codegne', did you mean 'codegen'"):
        PocketSource("codegne").examples("train")
    with pytest.raises(UserError, match="unknown split"):
        PocketSource("codegen").examples("dev")
    with pytest.raises(UserError, match=r"placeholder \{code\}"):
        PocketSource("codegen", user_prompt="{code}").examples("validation")


def test_every_program_is_in_one_family() -> None:
    whole = {row.id for row in PocketSource("codegen").examples("validation")}
    parts = [[row.id for row in PocketSource("codegen", family=name).examples("validation")] for name in FAMILIES]
    assert sorted(name for part in parts for name in part) == sorted(whole)
    assert min(map(len, parts)) >= 20
    assert all("(table):" in str(row.prompt) for row in PocketSource("codegen", family="tables").examples("validation"))
    with pytest.raises(UserError, match=r"unknown family of pocket programs 'tabels', did you mean 'tables'"):
        PocketSource("codegen", family="tabels").examples("validation")
