from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from src.evaluation.grading.forms import expected_outputs as module
from src.evaluation.grading.forms.expected_outputs import default_cache, expected_outputs, with_long_outputs
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.sandbox.decode import decode
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

SQUARE = Problem("T/0", "def f(x):\n", "f", "    return x * x\n", [[2], [3]], [[0.5], [[1][0]], [4]])


def test_answers_and_times(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    [truth] = expected_outputs([SQUARE], sandbox, tmp_path)
    values = [[decode(item.kind, item.body() or b"") for item in suite.expected] for suite in (truth.base, truth.plus)]
    assert values == [[4, 9], [0.25, 1, 16]]
    assert (truth.base.first_float, truth.plus.first_float) == (2, 0)
    assert len(truth.base.seconds) == 2
    assert 0 <= truth.seconds < 1


def test_kept_by_content(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    first = expected_outputs([SQUARE], sandbox, tmp_path)
    monkeypatch.setattr(module, "_compute", None)  # nothing is run again
    assert expected_outputs([SQUARE], sandbox, tmp_path) == first
    monkeypatch.undo()
    changed = dataclasses.replace(SQUARE, canonical_solution="    return -x * x\n")
    [other] = expected_outputs([changed], sandbox, tmp_path)
    assert other.base.expected != first[0].base.expected
    assert len(list(tmp_path.iterdir())) == 2


def test_broken_file_is_made_again(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    first = expected_outputs([SQUARE], sandbox, tmp_path)
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    again = expected_outputs([SQUARE], sandbox, tmp_path)
    assert again[0].base.expected == first[0].base.expected


def test_long_outputs_are_kept_as_digests_until_needed(
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FULL_BYTES", 1 << 20)
    text = dataclasses.replace(SQUARE, canonical_solution="    return 'ab' * x\n", plus_input=[[1 << 17], [1 << 20]])
    [truth] = expected_outputs([text], sandbox, tmp_path)
    assert [item.body() for item in truth.plus.expected] == [None, None]
    assert [item.size for item in truth.plus.expected] == [5 + (1 << 18), 5 + (1 << 21)]
    for _ in range(2):  # computed, then read
        [long] = sandbox.map(lambda worker, problem: with_long_outputs(problem, worker, tmp_path), [text])
        packed, digested = long.plus.expected
        assert packed._replace(packed=None) == truth.plus.expected[0]
        assert packed.packed is not None
        assert len(packed.packed) < packed.size
        assert decode(packed.kind, packed.body() or b"") == "ab" * (1 << 17)
        assert digested == truth.plus.expected[1]


def test_nan_is_never_equal(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    [truth] = expected_outputs(
        [dataclasses.replace(SQUARE, canonical_solution="    return [x, float('nan')]\n")], sandbox, tmp_path
    )
    assert not truth.base.expected[0].exact


@pytest.mark.parametrize("solution", ["    return 1 / 0\n", "    return (\n", "    import os; os._exit(0)\n"])
def test_reference_that_fails(solution: str, sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    broken = dataclasses.replace(SQUARE, canonical_solution=solution)
    with pytest.raises(UserError, match="reference solutions fail on their own inputs: T/0: "):
        expected_outputs([broken], sandbox, tmp_path)


def test_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/mixmerge/groundtruth")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "mixmerge" / "groundtruth"
