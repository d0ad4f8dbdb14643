"""`diagnose.py predict=true` on trained specialists; oracles: autograd by hand, and losses measured another way."""

import json
import math

import numpy as np
import pytest
import torch

from src.lit_modules.gradients import GradientProducts, gradient_products
from src.lit_modules.heldout import row_losses
from src.models import load_model
from src.predictor.features import FEATURES, SETTINGS
from src.predictor.refit import refit
from src.stages.diagnose import diagnose
from src.stages.job import compose_job
from src.stages.predict.answer import advice, prediction_lines
from src.stages.predict.features import row_losses_of
from src.utils.errors import UserError
from tests.predictor.simulated import table

TASKS = ("codegen", "codesum")


def _job(world, *overrides):
    words = ["predict=true", "predict_rows=8", "spectra_rank=4", f"output_root={world}"]
    return compose_job("diagnose", [*words, *overrides])


@pytest.fixture(scope="module")
def features(world, tmp_path_factory):
    place = tmp_path_factory.mktemp("predicted") / "run"
    directory = diagnose(_job(world, f"output={place}"))
    return json.loads((directory / "features.json").read_text())["features"]


def _content(features):
    return {"features": features, "settings": SETTINGS}


def _network(world, name):
    return load_model(world / "train" / name, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def rows(world):
    """The same rows, tokenized, and the networks that the features are about."""
    measure = row_losses_of(_job(world), list(TASKS))
    measure.generator.load(world / "train" / "pocket-base-s0")
    networks = {"base": _network(world, "pocket-base-s0")}
    networks |= {task: _network(world, f"pocket-specialist-{task}-s0") for task in TASKS}
    half = _network(world, "pocket-base-s0")
    with torch.no_grad():
        for name, parameter in half.named_parameters():
            parameter.copy_(sum(dict(networks[task].named_parameters())[name] for task in TASKS) / 2)
    return measure.rows(), networks | {"half": half}


def test_every_feature_is_there_in_order(features):
    assert set(features) == set(FEATURES)
    assert all(math.isfinite(value) for value in features.values())


def test_features_of_losses(features, rows):
    data, networks = rows
    loss = {(name, task): row_losses(network, data[task]).mean for name, network in networks.items() for task in TASKS}
    own = np.mean([loss[task, task] for task in TASKS])
    base = np.mean([loss["base", task] for task in TASKS])
    half = np.mean([loss["half", task] for task in TASKS])
    forgotten = np.mean([loss[a, b] - loss["base", b] for a, b in (TASKS, TASKS[::-1])])
    expected = {"base_nll": base, "gain": base - own, "half_excess": half - own, "forgetting": forgotten}
    for name, value in expected.items():
        assert features[name] == pytest.approx(value, abs=2e-5), name
    assert features["half_excess"] == pytest.approx(features["half_shrinkage"] + features["half_interference"])
    assert features["lambda_excess"] <= features["half_excess"] + 1e-9  # 0.5 is one of the coefficients that it tries


@pytest.mark.parametrize(("point", "name"), [("base", "base"), ("half", "merge")])
def test_features_of_gradients(features, rows, point, name):
    """Gradients of the loss that transformers computes itself, row by row."""
    data, networks = rows
    network, gradients = networks[point], []
    for task in TASKS:
        network.zero_grad()
        tokens = sum(len(micro["targets"]) for micro in data[task].batches)
        for micro in data[task].batches:
            logits = network(**micro["inputs"]).logits.flatten(0, 1)
            logits = logits[micro["picked"]] if len(micro["picked"]) != len(logits) else logits
            (torch.nn.functional.cross_entropy(logits, micro["targets"], reduction="sum") / tokens).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]).double())
        network.zero_grad()
    one, other = gradients
    assert features[f"gradient_distance_{name}"] == pytest.approx(float((one - other).norm()), rel=1e-3)
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=0)
    assert features[f"gradient_cosine_{name}"] == pytest.approx(float(cosine), abs=1e-3)


def test_gradients_leave_nothing_behind(rows):
    data, networks = rows
    gradient_products(networks["base"], data)
    assert all(parameter.grad is None for parameter in networks["base"].parameters())


def test_distance_and_cosine_by_hand():
    """Gradients (3, 4) and (3, 0)."""
    found = GradientProducts(np.array([[25.0, 9], [9, 9]]))
    assert (found.distance, found.cosine) == pytest.approx((4, 0.6))
    assert GradientProducts(np.array([[25.0, 0], [0, 0]])).cosine == 0


def test_without_a_predictor_the_features_are_printed(features, monkeypatch, tmp_path):
    monkeypatch.setattr("src.stages.predict.answer.FITTED", tmp_path / "none.json")
    lines = list(prediction_lines(_content(features), TASKS, None))
    assert [line.split()[0] for line in lines[: len(FEATURES)]] == list(FEATURES)
    assert lines[len(FEATURES)].startswith("no predictor is fitted: python -m src.predictor.refit")


def test_a_fitted_predictor_answers_inside_and_not_outside_the_atlas(features, tmp_path):
    rows = table(bases=6, cells=8).assign(pair="+".join(TASKS))
    rows.to_csv(tmp_path / "atlas.csv", index=False)
    refit(tmp_path / "atlas.csv", tmp_path / "fitted.json", draws=2)
    inside = features | rows.drop(columns=["base", "pair", "gap"]).median().to_dict()
    said = " ".join(prediction_lines(_content(inside), TASKS, str(tmp_path / "fitted.json")))
    assert "mixing wins by more than 2 points with probability" in said
    assert "driven by" in said
    said = " ".join(prediction_lines(_content(inside | {"parameters": 7.6e9}), TASKS, str(tmp_path / "fitted.json")))
    assert "outside the atlas, so no prediction: parameters 7.6e+09" in said
    assert "expected gap" not in said
    few = _content(inside) | {"settings": SETTINGS | {"predict_rows": 8}}
    said = " ".join(prediction_lines(few, TASKS, str(tmp_path / "fitted.json")))
    assert "no prediction: the features were measured with predict_rows=8 instead of 128" in said
    assert "expected gap" not in said


def test_advice_follows_the_losses():
    facts = {"half_excess": 1.0, "half_shrinkage": 0.8, "lambda_star": 0.9, "lambda_excess": 0.4}
    facts |= {"forgetting": 0.1, "gain": 0.5}
    more, shrunk = advice(facts, TASKS)
    assert "merge.weights={codegen: 0.90, codesum: 0.90}" in more
    assert "0.600 nats" in more
    assert shrunk.startswith("80% of the plain average's excess is shrinkage")
    facts |= {"half_shrinkage": 0.1, "lambda_excess": 1.0, "forgetting": 0.9}
    interference, forgetting = advice(facts, TASKS)
    assert interference.startswith("90% of the plain average's excess is interference")
    assert "learning rate" in forgetting


def test_one_specialist_is_too_few(world):
    with pytest.raises(UserError, match="two or more specialists, got codegen"):
        row_losses_of(_job(world), ["codegen"])
    with pytest.raises(UserError, match=r"specialist per task.*tasks="):
        row_losses_of(_job(world), ["codegen", "bugfix"])
