from types import SimpleNamespace
from typing import Any

import pytest

from src.evaluation.statistics.scores import Score
from src.stages.study.execute import relative_scores

TASKS = {"code": "codegen", "text": "codesum"}
PLAN: Any = SimpleNamespace(metrics=["pass@1", "rouge_l"], headline={})


def scored(name: str, kind: str, seed: int, code: float, text: float, task: str | None = None) -> Any:
    """A model's evaluation, as far as `relative_scores` reads it."""
    model = SimpleNamespace(name=name, kind=kind, seed=seed, task=task)
    scores = [Score("code", "1", "pass@1", code), Score("text", "1", "rouge_l", text)]
    return SimpleNamespace(trained=SimpleNamespace(model=model), items=lambda: scores)


def study() -> list[Any]:
    """Two seeds: the mixture keeps half of the first code specialist and all of the second; the base is shared."""
    return [
        scored("base", "base", 0, 0.2, 0.1),
        scored("gen", "specialist", 0, 0.8, 0.1, "codegen"),
        scored("sum", "specialist", 0, 0.1, 0.5, "codesum"),
        scored("mixture", "mix", 0, 0.4, 0.5),
        scored("gen", "specialist", 1, 0.4, 0.1, "codegen"),
        scored("sum", "specialist", 1, 0.1, 0.5, "codesum"),
        scored("mixture", "mix", 1, 0.4, 0.5),
        *(scored("dare 0.5", "merge", seed, value, 0.5) for seed in (1, 0) for value in (0.2, 0.4)),
    ]


def test_every_training_seed_has_its_own_reference_whatever_the_order() -> None:
    for models in (study(), study()[::-1]):
        found = relative_scores(models, TASKS, PLAN)
        assert found.training_seeds == 2
        assert found.training_averages("mixture") == pytest.approx([-0.25, 0])
        assert found.seeds["dare 0.5"] == 2
        assert found.training_averages("dare 0.5") == pytest.approx([(0.3 / 0.8 - 1) / 2, (0.3 / 0.4 - 1) / 2])
        assert found.training_averages("base") == pytest.approx([(0.25 + 0.2) / 2 - 1, (0.5 + 0.2) / 2 - 1])
