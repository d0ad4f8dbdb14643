"""Statistics of specialists on their tasks, from `train.py strategy=fisher|regmean` to the merge that uses them."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from src.checkpoints import Checkpoint
from src.pocket.sources import PocketSource
from src.stages.job import compose_job
from src.stages.merge.run import merge
from src.stages.train.run import train
from src.utils.errors import UserError

TASKS = ("codegen", "codesum")


def measured(world, strategy, task, *more):
    return train(compose_job("train", [f"strategy={strategy}", f"task={task}", *more, f"output_root={world}"]))


@pytest.fixture(scope="module")
def fisher(world):
    return {
        task: measured(world, "fisher", task, "strategy.rows=8", f"output={world}/train/pocket-fisher-{task}-s0")
        for task in TASKS
    }


def answer_rows(place, count):
    """Token ids and answer masks of evenly spaced training rows, by the chat template alone."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place)
    examples = PocketSource("codegen", "{prompt}").examples("train")
    for index in range(count):
        example = examples[index * len(examples) // count]
        turns = [{"role": "user", "content": example.prompt}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        answer = tokenizer(example.answer, add_special_tokens=False).input_ids
        answer = [*answer, tokenizer.eos_token_id]
        labels = torch.tensor([[-100] * len(prompt) + answer])
        yield torch.tensor([[*prompt, *answer]]), labels


def test_fisher_is_the_mean_squared_gradient_of_the_answers(world, fisher):
    place = world / "train" / "pocket-specialist-codegen-s0"
    model = AutoModelForCausalLM.from_pretrained(place)
    total = torch.zeros_like(model.model.norm.weight)
    for ids, labels in answer_rows(place, 8):
        model.zero_grad()
        logits = model(ids).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=-100, reduction="sum").backward()
        total += model.model.norm.weight.grad**2
    stored = Checkpoint(fisher["codegen"])
    assert set(stored.names) == set(Checkpoint(place).names)
    assert torch.allclose(stored.tensor("model.norm.weight"), total / 8, rtol=1e-4)
    assert json.loads((fisher["codegen"] / "run.json").read_text())["results"] == {
        "rows": 8,
        "parents": {"specialist": str(place)},
    }


def test_regmean_holds_the_gram_matrix_of_the_inputs(world, tmp_path):
    more = ["strategy.rows=4", "strategy.memory_gb=1e-5"]  # a pass over the rows for every layer or two
    stored = Checkpoint(measured(world, "regmean", "codegen", *more, f"output={tmp_path}/regmean"))
    place = world / "train" / "pocket-specialist-codegen-s0"
    model = AutoModelForCausalLM.from_pretrained(place)
    layer = model.model.layers[1].mlp.gate_proj
    inputs = []
    layer.register_forward_pre_hook(lambda module, given: inputs.append(given[0][0]))
    with torch.no_grad():
        for ids, _ in answer_rows(place, 4):
            model(ids)
    seen = torch.cat(inputs)
    assert torch.allclose(
        stored.tensor("model.layers.1.mlp.gate_proj.weight"), seen.T @ seen / len(seen), rtol=1e-4, atol=1e-6
    )
    assert len(stored.names) == 14  # seven linear layers in each of two blocks


def test_a_merge_finds_the_statistics_of_its_parents(world, fisher, tmp_path):
    overrides = ["merge=fisher", "merge.weight=0.3", "merge.equalize=false", f"output_root={world}"]
    merged = Checkpoint(merge(compose_job("merge", [*overrides, f"output={tmp_path}/merged"])))
    name = "model.layers.0.mlp.up_proj.weight"
    weights = [Checkpoint(world / "train" / f"pocket-specialist-{task}-s0").tensor(name) for task in TASKS]
    found = [Checkpoint(fisher[task]).tensor(name) for task in TASKS]
    floor = 1e-6 * sum(float(f.mean()) for f in found) / len(found)  # relative to the mean of the tensor
    trust = [w * (f + floor) for w, f in zip((0.3, 0.7), found, strict=True)]
    expected = sum(f * w for f, w in zip(trust, weights, strict=True)) / sum(trust)
    assert torch.allclose(merged.tensor(name), expected, rtol=1e-5, atol=1e-7)
    inputs = json.loads((tmp_path / "merged" / "run.json").read_text())["inputs"]
    assert set(inputs) == {"base", *TASKS, *(f"statistics.{task}" for task in TASKS)}


def test_missing_statistics_are_answered_with_the_lines_that_make_them(world, tmp_path):
    with pytest.raises(UserError, match=r"python train\.py strategy=regmean task=codegen.*regmean task=codesum"):
        merge(compose_job("merge", ["merge=regmean", f"output_root={world}", f"output={tmp_path}/merged"]))
    assert not (tmp_path / "merged").exists()


def test_statistics_of_other_weights_are_refused(world, fisher, tmp_path):
    swapped = f"merge.statistics={{codegen: {fisher['codesum']}, codesum: {fisher['codegen']}}}"
    with pytest.raises(UserError, match=r"merge\.statistics\.codegen=.*not computed from specialists\.codegen"):
        merge(compose_job("merge", ["merge=fisher", swapped, f"output_root={world}", f"output={tmp_path}/merged"]))


def test_strategy_merge_makes_the_statistics_too(world, tmp_path):
    for name in ("base", "specialist-codegen", "specialist-codesum"):
        shutil.copytree(world / "train" / f"pocket-{name}-s0", tmp_path / "train" / f"pocket-{name}-s0")
    overrides = ["strategy=merge", "merge=fisher", f"output_root={tmp_path}"]
    merged = train(compose_job("train", overrides))
    assert (merged / "model.safetensors").is_file()
    assert (tmp_path / "train" / "pocket-fisher-codesum-s0" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["strategy.rows=0"], "strategy.rows must be at least 1, got 0"),
        (["strategy.checkpoint=/nowhere"], "no such directory"),
    ],
)
def test_statistics_that_cannot_be_taken(world, tmp_path, overrides, words):
    with pytest.raises(UserError, match=words):
        measured(world, "fisher", "codegen", *overrides, f"output={tmp_path}/out")
    assert list(tmp_path.iterdir()) == []
