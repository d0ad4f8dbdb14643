"""Parts of choices (`_common.yaml`): not accepted as a choice, and not shown as one."""

import subprocess
import sys
from pathlib import Path

import pytest

from src.config.groups import check_choices, choices
from src.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("argument", ["merge=_common", "merge=ties,_coefficients", "+merge@x=_common"])
def test_a_part_is_refused(argument):
    with pytest.raises(UserError, match=r"unknown merge '_co.*Available: adaptive, .*ties"):
        check_choices([argument])


@pytest.mark.parametrize(
    ("argument", "got"),
    [("model=0", "'0'"), ("strategy=[nan]", "'nan'"), ("model=null", "'None'"), ("strategy=[]", r"'\[\]'")],
)
def test_what_is_no_name_is_refused_with_the_choices(argument, got):
    with pytest.raises(UserError, match=rf"unknown {argument.partition('=')[0]} {got}.* Available: "):
        check_choices([argument])


@pytest.mark.parametrize(
    "argument",
    ["merge=ties", "merge.exclude=_proj", "output=_common", "-m", "search=null", "logger=[]", "merge='ties',dare"],
)
def test_other_arguments_pass(argument):
    check_choices([argument])


def test_choices_of_a_group():
    found = choices(ROOT / "conf" / "merge")
    assert "ties" in found
    assert not [name for name in found if name.startswith("_")]


def test_help_shows_choices_of_every_directory_and_no_parts(tmp_path):
    (tmp_path / "merge").mkdir()
    (tmp_path / "merge" / "tempered.yaml").write_text("_target_: own_methods.tempered\n")
    command = [sys.executable, "merge.py", f"hydra.searchpath=[file://{tmp_path}]", "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [line] = [line for line in printed.splitlines() if line.startswith("merge: ")]
    assert "task_arithmetic, tempered, ties" in line
    assert "_common" not in printed.split("Configuration")[0]


@pytest.mark.parametrize(
    ("script", "groups"),
    [
        ("merge", ["debug", "logger", "merge", "model", "search", "tasks"]),
        ("study", ["executor", "experiment", "logger", "study"]),
    ],
)
def test_help_shows_the_groups_that_the_script_takes(script, groups):
    command = [sys.executable, f"{script}.py", "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = printed.split("Groups (key=choice)\n")[1].split("Configuration")[0]
    assert [line.partition(":")[0] for line in listed.splitlines() if line] == groups
