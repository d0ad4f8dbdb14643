"""Every finding, from records that differ in one value."""

from __future__ import annotations

import pytest

from src.evaluation.preflight.finding import refuse
from src.evaluation.preflight.preflight import preflight
from src.evaluation.preflight.reading import read_subject
from tests.evaluation.preflight.records import CONFIG, World, evaluate, merge, scores, train

ALL = ("mix", "ties", "base", "codegen", "codesum")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def findings(world, names=("mix", "ties")):
    place = world.write()
    return preflight([read_subject(name, place / name) for name in names])


def only(world, names=("mix", "ties")):
    [finding] = findings(world, names)
    return finding


@pytest.mark.parametrize("names", [("mix", "ties"), ALL, ("ties",)])
def test_fair_sides_have_no_findings(world, names):
    assert findings(world, names) == []


@pytest.mark.parametrize(
    ("path", "value", "kind", "severity", "found", "key"),
    [
        ("config.strategy.learning_rate", 2e-3, "learning rate", "caution", "mix: 0.002", "strategy.learning_rate"),
        ("config.strategy.batch_size", 16, "batch size", "caution", "mix: 16", "strategy.batch_size"),
        ("config.strategy.max_length", 512, "sequence length", "caution", "mix: 512", "strategy.max_length"),
        ("config.strategy.packing", True, "packing", "note", "mix: true", "strategy.packing"),
        ("config.strategy.epochs", 3, "epochs", "caution", "mix: 3", "strategy.epochs"),
        ("config.optimizer.warmup", 0.1, "optimizer", "caution", '"warmup": 0.1', "optimizer"),
        ("config.data.fraction", 0.5, "rows", "caution", '"fraction": 0.5', "data.fraction"),
        ("config.data.decontaminate", False, "decontamination", "caution", "mix: false", "data.decontaminate"),
        ("config.seed", 1, "training seed", "note", "mix: 1", "seed"),
        ("inputs.base.model/safetensors", "w1", "base", "serious", "mix: sha256:", "base=DIR"),
        ("results.cost.steps", 50, "training steps", "caution", "mix: 50; ties: 40", "strategy.steps"),
        (
            *("results.trained_on.codesum.tokens", 9000, "training tokens of codesum", "caution"),
            *("mix: 9,000; ties: 5,000", "strategy.epochs"),
        ),
    ],
)
def test_training_differs(world, path, value, kind, severity, found, key):
    finding = only(world.change("mix", **{path: value}))
    assert (finding.kind, finding.severity) == (kind, severity)
    assert found in finding.found
    assert "ties" in finding.found
    assert key in finding.key
    assert finding.effect


def test_both_values_and_their_owners_are_shown(world):
    finding = only(world.change("mix", **{"config.strategy.learning_rate": 2e-3}))
    assert finding.found == "mix: 0.002; codegen specialist of ties and codesum specialist of ties: 0.001"


def test_amounts_within_a_tenth_are_equal_and_specialists_may_have_fewer_steps(world):
    world.change("mix", **{"results.trained_on.codegen.tokens": 5400, "results.cost.steps": 42})
    assert findings(world, ("mix", "codegen", "ties")) == []


@pytest.mark.parametrize(
    ("config", "kind", "severity"),
    [
        ({"hidden_size": 192}, "network", "serious"),
        ({"dtype": "bfloat16"}, "dtype", "caution"),
        ({"eos_token_id": [3, 5]}, "end tokens", "serious"),
    ],
)
def test_files_differ(world, config, kind, severity):
    world.configs["mix"] |= config
    finding = only(world)
    assert (finding.kind, finding.severity) == (kind, severity)


def test_chat_templates_differ(world):
    world.templates["ties"] = "### {{ messages }}"
    assert (only(world).kind, only_severity(world)) == ("chat template", "serious")


def only_severity(world):
    return preflight([read_subject(name, world.place / "evaluate" / name) for name in ("mix", "ties")])[0].severity


@pytest.mark.parametrize(
    ("path", "value", "kind", "severity", "found"),
    [
        ("decoding.max_new_tokens", 256, "pocket_codegen decoding.max_new_tokens", "serious", "mix: 256; ties: 96"),
        ("decoding.stop", ["<end>", "\nclass"], "pocket_codegen decoding.stop", "serious", "\\nclass"),
        ("decoding.repetition_penalty", 1.1, "pocket_codegen decoding.repetition_penalty", "serious", "ties: not set"),
        ("prefill", "```python", "pocket_codegen prefill", "serious", "mix: ```python; ties: not set"),
        ("limit", 20, "pocket_codegen limit", "serious", "mix: 20; ties: not set"),
        ("sanitize", "never", "pocket_codegen sanitize", "caution", "mix: never; ties: not set"),
    ],
)
def test_benchmarks_differ(world, path, value, kind, severity, found):
    finding = only(world.change_evaluation("mix", **{f"config.benchmarks.pocket_codegen.{path}": value}))
    assert (finding.kind, finding.severity) == (kind, severity)
    assert found in finding.found
    assert f"benchmarks.pocket_codegen.{path}" in finding.key


@pytest.mark.parametrize(
    ("path", "value", "kind", "severity"),
    [
        ("config.split", "validation", "split", "serious"),
        ("inputs.items.pocket_codegen", "i9", "items of pocket_codegen", "serious"),
        ("config.generator._target_", "vllm", "generator._target_", "caution"),
        ("config.generator.dtype", "float16", "generator.dtype", "caution"),
        ("config.limits.memory_mb", 1024, "memory_mb", "caution"),
        ("config.rules.pocket_codegen", {"grading": 9}, "rules of pocket_codegen", "caution"),
    ],
)
def test_evaluations_differ(world, path, value, kind, severity):
    both = {"config.rules.pocket_codegen": {"grading": 8}}
    world.change_evaluation("ties", **both).change_evaluation("mix", **(both | {path: value}))
    finding = only(world)
    assert (finding.kind, finding.severity) == (kind, severity)


def test_the_device_is_no_difference(world):
    assert findings(world.change_evaluation("mix", **{"config.generator.device": "cuda"})) == []


def test_cut_off_answers(world):
    finding = only(world.change_evaluation("ties", **{"results.finish.pocket_codegen": {"end": 147, "length": 3}}))
    assert (finding.kind, finding.found) == ("cut-off answers of pocket_codegen", "ties: 3 of 150")
    assert "max_new_tokens" in finding.key


@pytest.mark.parametrize(("dirty", "severity"), [(3, "caution"), (30, "serious"), (0, None)])
def test_contaminated_benchmarks(world, dirty, severity):
    words = f"{140 - dirty} clean, 10 between, {dirty} dirty of 150 items"
    found = findings(world.change_evaluation("mix", **{"results.contamination.items": {"pocket_codegen": words}}))
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert all(f"{dirty} of 150 items of pocket_codegen are in the training data" in one.found for one in found)


def test_a_training_prompt_that_is_not_the_benchmarks(world):
    """Two keys in two files once differed; the study then called the mixture 43 % better than the specialists."""
    for name in ("mix", "ties"):
        world.change_evaluation(name, **{"config.benchmarks.pocket_codesum.user_prompt": "Fix this:\n{code}"})
    finding = only(world)
    assert finding.kind == "training prompt"
    said = '"Describe:\\n{code}" in training, "Fix this:\\n{code}" in pocket_codesum'
    assert finding.found == f"mix and ties: {said}"
    assert "codesum.user_prompt" in finding.key
    assert "benchmarks.pocket_codesum.user_prompt" in finding.key


def test_coefficients_chosen_on_test(world):
    chosen = {"split": "test", "evaluations": 1}
    finding = only(world.change("ties", **{"results.chosen_by": chosen}))
    assert (finding.kind, finding.severity) == ("chosen on test data", "serious")


@pytest.fixture
def second_point(world):
    """A world with another point of the same merge, scored on test data."""
    world.records["ties 0.9"] = merge(
        {name: world.place / "models" / name for name in ("base", "codegen", "codesum")},
        **{"results.recipe.weights": {"codegen": 0.9, "codesum": 0.1}},
    )
    world.evaluations["ties 0.9"] = evaluate(world.place / "models" / "ties 0.9")
    world.configs["ties 0.9"], world.templates["ties 0.9"] = dict(CONFIG), "{{ messages }}"
    return world


@pytest.mark.parametrize("names", [("mix", "ties"), ("mix", "ties", "ties 0.9"), ("ties 0.9", "ties")])
def test_several_points_of_one_method_on_test(second_point, names):
    """Also where only one of them is compared."""
    finding = only(second_point, names)
    assert (finding.kind, finding.severity) == ("chosen on test data", "serious")
    assert finding.found.startswith("2 merges by ties were scored on test data: ")
    assert "ties 0.9" in finding.found


def test_points_of_other_parents_are_no_choice(second_point):
    parents = {"inputs.codegen": {"model.safetensors": "of another seed"}}
    assert findings(second_point.change("ties 0.9", **parents)) == []


def test_other_masks_are_no_choice(second_point):
    assert (
        findings(second_point.change("ties 0.9", **{"results.recipe.weights": {"codegen": 0.3, "codesum": 0.7}})) == []
    )


def test_points_on_validation_are_no_choice(second_point):
    assert findings(second_point.change_evaluation("ties 0.9", **{"config.split": "validation"})) == []


def test_unequal_search_budgets(world):
    finding = only(world.change("ties", **{"results.chosen_by": {"split": "validation", "evaluations": 40}}))
    assert (finding.kind, finding.severity, finding.found) == ("candidates tried", "note", "mix: 1; ties: 40")
    assert finding.key == "search.budget"
    refuse([finding])  # strict: champions are compared on data that chose neither


def test_coefficients_outside_of_0_to_1(world):
    finding = only(world.change("ties", **{"results.recipe.weights": {"codegen": 30, "codesum": -29}}))
    assert (finding.kind, finding.severity) == ("coefficients outside 0-1", "caution")
    assert finding.found == "ties (ties): codegen 30, codesum -29"
    assert "merge.weight" in finding.key


@pytest.mark.parametrize(
    ("names", "values", "severity"),
    [
        (("codegen", "base"), {"codegen": {"codegen": 0.2}, "base": {"codegen": 0.3}}, "serious"),
        (("codegen", "codesum"), {"codegen": {"codegen": 0.2}, "codesum": {"codegen": 0.3}}, "serious"),
        (("codegen", "base"), {"codegen": {"codegen": 0.3}, "base": {"codegen": 0.3}}, None),
        (("codegen", "base"), {"codegen": {"codesum": 0.1}, "base": {"codesum": 0.3}}, None),  # not its task
    ],
)
def test_a_specialist_below_the_base_or_another_one(world, names, values, severity):
    for name, value in values.items():
        world.change_evaluation(name, **{"results.scores": scores(**value)})
    found = findings(world, names)
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    for finding in found:
        assert finding.found == f"codegen on pocket_codegen: pass@1 0.2000 against 0.3000 of {names[1]}"


def test_below_in_some_metrics_is_a_caution(world):
    plus = {"benchmark": "pocket_codegen", "metric": "pass@1+", "value": 0.1}
    world.change_evaluation("codegen", **{"results.scores": [*scores(codegen=0.4), plus]})
    world.change_evaluation("base", **{"results.scores": [*scores(codegen=0.3), plus | {"value": 0.2}]})
    finding = only(world, ("codegen", "base"))
    assert (finding.kind, finding.severity) == ("specialist below base", "caution")


def test_a_higher_loss_is_worse(world):
    loss = {"benchmark": "pocket_codegen", "metric": "nll", "value": 2.0}
    world.change_evaluation("codegen", **{"results.scores": [loss]})
    world.change_evaluation("base", **{"results.scores": [loss | {"value": 1.0}]})
    assert only(world, ("codegen", "base")).severity == "serious"


def test_answers_without_a_model(world, tmp_path):
    world.change_evaluation("mix", **{"results.checkpoint": None})
    finding = only(world)
    assert (finding.kind, finding.found) == ("unknown model", "mix: no checkpoint")
    nothing = tmp_path / "only items"
    nothing.mkdir()
    [finding] = preflight([read_subject("x", nothing)])
    assert finding.found == "x: no record"


def test_serious_findings_come_first(world):
    world.change("mix", **{"config.seed": 1, "inputs.base.model/safetensors": "w1"})
    assert [finding.severity for finding in findings(world)] == ["serious", "note"]


def test_planned_runs_are_compared_before_they_run():
    from src.evaluation.preflight.facts import Subject
    from src.evaluation.preflight.reading import trained_model

    planned = [train("mix"), train("specialist", "codegen", **{"config.strategy.learning_rate": 5e-6})]
    for record in planned:
        del record["results"], record["inputs"], record["outputs"]
    subjects = [Subject(name, trained_model(name, one, {})) for name, one in zip("ab", planned, strict=True)]
    assert [finding.kind for finding in preflight(subjects)] == ["learning rate"]
