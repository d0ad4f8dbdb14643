import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from src.checkpoints import Checkpoint
from src.checkpoints.fingerprint import fingerprint, weights_fingerprint
from src.stages.job import compose_job
from src.stages.train.names import run_directory
from src.stages.train.run import train
from src.stages.train.then_merge import specialists_then_merge
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl
from tests.stages.conftest import SHORT, train_tiny


def test_a_trained_run_is_a_checkpoint_that_any_tool_loads(world):
    place = world / "train" / "pocket-specialist-codegen-s0"
    tokenizer = AutoTokenizer.from_pretrained(place)
    model = AutoModelForCausalLM.from_pretrained(place)
    assert model.config.num_hidden_layers == 2
    assert model.config.tie_word_embeddings
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], return_tensors="pt", return_dict=True)
    assert torch.isfinite(model(**ids).logits).all()


def test_the_record_says_what_was_run(world):
    record = json.loads((world / "train" / "pocket-mix-s0" / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["config"]["strategy"]["name"] == "mix"
    assert record["results"]["cost"]["steps"] == 30
    assert set(record["results"]["losses"]) == {"codegen", "codesum", "all"}
    assert set(record["inputs"]) == {"base"}
    steps = [row for row in read_jsonl(world / "train" / "pocket-mix-s0" / "metrics.jsonl") if "train/loss" in row]
    assert len(steps) >= 30


def test_training_moves_the_weights_of_the_base(world):
    base = Checkpoint(world / "train" / "pocket-base-s0")
    tuned = Checkpoint(world / "train" / "pocket-mix-s0")
    assert base.names == tuned.names
    moved = [name for name in base.names if not torch.equal(base.tensor(name), tuned.tensor(name))]
    assert moved == list(base.names)


def test_the_same_seed_gives_the_same_weights(world, tmp_path):
    again = train(compose_job("train", ["strategy=mix", *SHORT, f"output_root={world}", f"output={tmp_path}/again"]))
    assert weights_fingerprint(again) == weights_fingerprint(world / "train" / "pocket-mix-s0")


def test_strategy_merge_trains_only_what_is_missing(world):
    merged = train(
        compose_job("train", ["strategy=merge", "merge=linear", "merge.weight=0.35", f"output_root={world}"])
    )
    assert merged == world / "merge" / "pocket-linear-w0.35-s0"
    record = json.loads((world / "train" / "pocket-specialist-codegen-s0" / "run.json").read_text())
    assert record["results"]["cost"]["steps"] == 30
    expected = 0.35 * _weight(world, "specialist-codegen") + 0.65 * _weight(world, "specialist-codesum")
    assert torch.allclose(Checkpoint(merged).tensor("model.norm.weight"), expected, atol=1e-7)


def test_strategy_merge_with_settings_of_its_own_merges_what_it_has_trained(world):
    """Their names tell them from the standard specialists, which are there too."""
    base = world / "train" / "pocket-base-s0"
    short = ["model.recipe.epochs=null", "model.recipe.steps=2", f"base={base}"]
    merged = train(compose_job("train", ["strategy=merge", "merge=fisher", *short, f"output_root={world}"]))
    codegen, codesum = (f"specialist-{task}-epochsnull-steps2" for task in ("codegen", "codesum"))
    record = json.loads((merged / "run.json").read_text())
    parents = {task: fingerprint(world / "train" / f"pocket-{name}-s0") for task, name in
               (("codegen", codegen), ("codesum", codesum))}  # fmt: skip
    assert {name: record["inputs"][name] for name in parents} == parents
    assert record["inputs"]["base"] == fingerprint(base)
    assert not torch.equal(_weight(world, codegen), _weight(world, "specialist-codegen"))


def test_strategy_merge_hands_variants_of_tasks_on(world, monkeypatch):
    """To the specialists, which are named by them, and to the merge."""
    lines = []
    monkeypatch.setattr("src.stages.train.then_merge.merge", lambda job: lines.append(job.overrides) or world)
    job = compose_job("train", ["strategy=merge", "tasks=[codegen_fair,codesum]", "output_root='/a b(c)'"])
    specialists_then_merge(job, lambda job: lines.append(job.overrides) or Path("/a b(c)") / job.cfg.task)
    variant = "tasks=[codegen_fair,codesum]"
    assert [variant in line for line in lines] == [True] * 3
    assert "task=codegen" in lines[0]
    assert "specialists.codegen='/a b(c)/codegen'" in lines[2]


def test_a_mistake_in_the_merge_is_reported_before_training(tmp_path):
    with pytest.raises(Exception, match=r"merge.density .*got 2"):
        train(compose_job("train", ["strategy=merge", "merge=ties", "merge.density=2", f"output_root={tmp_path}"]))
    assert list(tmp_path.iterdir()) == []


def _weight(world, name):
    return Checkpoint(world / "train" / f"pocket-{name}-s0").tensor("model.norm.weight")


def test_standard_names():
    names = {
        ("strategy=base",): "pocket-base-s0",
        ("strategy=specialist", "task=codesum", "seed=3"): "pocket-specialist-codesum-s3",
        ("strategy=mix", "strategy.steps=50"): "pocket-mix-steps50-s0",
        ("model=qwen7b", "strategy=mix"): "qwen7b-mix-s0",
        ("strategy=mix", "tasks=[codegen,codesum]"): "pocket-mix-s0",
        ("strategy=mix", "tasks=[codesum,codegen_fair]"): "pocket-mix-codesum+codegen_fair-s0",
        ("strategy=specialist", "tasks=[codesum,codegen]"): "pocket-specialist-codesum-codesum+codegen-s0",
        ("strategy=base", "tasks=[codesum,codegen_fair]"): "pocket-base-s0",
    }
    for overrides, name in names.items():
        assert run_directory(compose_job("train", list(overrides))).name == name


def test_another_run_in_the_same_place_is_refused(world):
    with pytest.raises(UserError, match=r"strategy.learning_rate: 0.\d+ there, 0.5 here"):
        train_tiny(world, "pocket-mix-s0", "strategy=mix", "strategy.learning_rate=0.5")


def test_a_shrunken_family_runs_offline_from_base_to_mixture(tmp_path):
    options = ["model=deepseek1.3b", "debug=shrink", f"output_root={tmp_path}", "logger=none"]
    small = ["strategy.steps=2", "strategy.batch_size=4", "data.limit=64"]
    mixture = train(compose_job("train", [*options, "strategy=mix", *small]))
    assert mixture == tmp_path / "train" / "deepseek1.3b-shrunk-mix-steps2-batch_size4-limit64-s0"
    base = Checkpoint(tmp_path / "train" / "deepseek1.3b-shrunk-base-s0")
    assert base.config["model_type"] == "llama"
    assert base.config["num_hidden_layers"] == 2
    assert base.shape("lm_head.weight")[0] == base.config["vocab_size"] == len(AutoTokenizer.from_pretrained(mixture))
    assert Checkpoint(mixture).names == base.names
    assert train(compose_job("train", [*options, "strategy=base"])) == base.path


def test_a_published_base_is_used_in_place(world):
    place = world / "train" / "pocket-base-s0"
    assert train(compose_job("train", ["model=qwen7b", "strategy=base", f"model.path={place}"])) == place


def test_a_name_that_cannot_be_fetched_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("src.stages.train.network.device_memory", lambda gpu: 2.0**40)
    with pytest.raises(
        UserError, match=r"(?s)model.path=Qwen/.*hf download .*model.path=DIR, or debug=shrink.*init=random"
    ):
        train(compose_job("train", ["model=qwen7b", "trainer=cpu", "strategy=mix", f"output_root={tmp_path}"]))


def test_bad_settings_leave_nothing_behind(tmp_path, world):
    with pytest.raises(Exception, match="warmup"):
        train(
            compose_job("train", ["strategy=mix", "optimizer.warmup=2", f"output={tmp_path}/x", f"output_root={world}"])
        )
    assert list(tmp_path.iterdir()) == []
