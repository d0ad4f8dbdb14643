import random

from src.pocket.corpus import corpus
from src.pocket.programs.render import render
from src.pocket.repair import RepairSource, buggy_body, repair_problems


def run(source, name, arguments):
    space = {}
    exec(source, space)
    return space[name](*arguments)


def test_a_bug_is_another_program_with_other_results_and_the_answer_repairs_it():
    problems = repair_problems("test", 12)
    assert len(problems) == 12
    for problem in problems:
        inputs = [*problem["base_input"], *problem["plus_input"]]
        name, right = problem["entry_point"], problem["prompt"] + problem["canonical_solution"]
        wrong = problem["prompt"] + problem["buggy"]
        assert [run(right, name, given) for given in inputs] != [run(wrong, name, given) for given in inputs]
        assert problem["buggy"].startswith("    ")
    assert len({problem["task_id"] for problem in problems}) == 12


def test_the_same_bugs_every_time_in_the_style_of_the_program():
    composition = corpus(0).compositions("validation")[0]
    program = render(composition, random.Random(0))
    bodies = {buggy_body(program, random.Random(1)) for _ in range(3)}
    assert len(bodies) == 1
    assert bodies != {program.code}


def test_rows_show_the_bug_and_answer_with_the_right_body():
    rows = RepairSource(renderings=1).examples("validation")
    assert len(rows) > 250  # of 300 compositions
    row = rows[0]
    assert row.task == "repair"
    assert row.prompt.startswith("def ")
    body = row.prompt.partition('"""\n')[2]
    assert body.strip() != row.answer.strip()
    assert row.answer.startswith("    ")
    assert rows == RepairSource(renderings=1).examples("validation")
