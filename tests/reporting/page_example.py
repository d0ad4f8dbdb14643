"""A small interactive page whose names, prompts and answers try to break out of it."""

import dataclasses

from src.reporting.page.build import interactive_part
from src.reporting.view import study_view
from src.reporting.write import render_html
from tests.reporting.example import CHOSEN, study

NASTY = '</script><script>title="x"</script><img>&`_'
PASSING, FAILING = "def f(x):\n    return x + 1\n", "def f(x):\n    return x  # </script><script>\n"
PAIR = ("pocket-mix", f"pocket-linear-w{CHOSEN['linear']}-s0")


def answer_rows(models=PAIR, items=12):
    """On even items the first model passes alone, on odd ones both."""
    for place, subject in enumerate(models):
        for item in range(items):
            good = place == 0 or item % 2
            yield {
                "subject": subject, "benchmark": "pocket_functions", "metric": "pass@1+", "item": f"{NASTY} {item}",
                "value": float(good), "prompt": f"def f(x):\n    '{NASTY}'\n", "answer": PASSING if good else FAILING,
                "input": "" if good else "[3]", "expected": "" if good else "4", "got": "" if good else NASTY,
            }  # fmt: skip


def nasty_study():
    """The example study with answers, and with a method and a task whose names are markup."""
    plain = study()
    models = {
        name: dataclasses.replace(model, method=NASTY) if model.method == "ties" else model
        for name, model in plain.models.items()
    }
    return study(models=models, title=NASTY, answers=tuple(answer_rows()))


def write_page(report, directory):
    """Write `report.html` alone, without the figures beside it."""
    path = directory / "report.html"
    path.write_text(render_html(study_view(report), interactive_part(report, directory)), encoding="utf-8")
    return path
