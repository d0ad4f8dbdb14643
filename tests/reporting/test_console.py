"""The end of a study on the terminal."""

from src.reporting.console import print_study


def test_the_end_of_a_study_is_short(capsys):
    columns = ["model", "codegen pass@1+", "average change"]
    headline = {"columns": columns, "rows": [[f"model [{n}]", f"{n}.0 0 to 9", "-1.0"] for n in range(5)]}
    print_study(
        "Mix the data. It is ahead.\nTake runs/mix (the mixture).\nOther words.", headline, ["report: R/report.html"]
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["Mix the data. It is ahead.", "Take runs/mix (the mixture)."]
    assert lines[2].split() == ["model", "codegen", "pass@1+", "average", "change"]
    assert lines[3].split() == ["model", "[0]", "0.0", "0", "to", "9", "-1.0"]
    assert lines[-1] == "report: R/report.html"
    assert len(lines) == 9 <= 15
