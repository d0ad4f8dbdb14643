from __future__ import annotations

import io

import pytest

from src.utils.progress import say, speaking_into


def test_lines_go_to_the_file_and_then_to_what_stderr_is_by_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said, later = io.StringIO(), io.StringIO()
    with speaking_into(said):
        say("one")
        monkeypatch.setattr("sys.stderr", later)
    say("two")
    assert (said.getvalue(), later.getvalue()) == ("one\n", "two\n")
    assert capsys.readouterr().err == ""
