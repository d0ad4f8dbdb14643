"""Checkpoints of other tools: what their files say, and files that say nothing."""

import json
import pickle
import zipfile

import pytest

from src.evaluation.preflight.facts import Subject
from src.evaluation.preflight.foreign import base_name, training_settings
from src.evaluation.preflight.preflight import preflight
from src.evaluation.preflight.reading import read_model

CARD = """---
base_model: Qwen/Qwen2.5-Coder-1.5B
---
### Training hyperparameters

The following hyperparameters were used during training:
- learning_rate: 5e-06
- train_batch_size: 4
- seed: 42
- lr_scheduler_type: cosine
- num_epochs: 2.0
"""


class TrainingArguments:
    """Stands for the class of transformers, whose instances are pickled as a dictionary."""

    def __init__(self, **values):
        self.__dict__ |= values


class Explosive:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was loaded')",)


def pickled(path, value):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("training_args/data.pkl", pickle.dumps(value, protocol=2))


def test_a_model_card_of_transformers(tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    assert training_settings(tmp_path) == {
        "learning rate": 5e-6, "rows per device": 4, "training seed": 42, "schedule": "cosine", "epochs": 2.0,
    }  # fmt: skip
    assert base_name(tmp_path) == "Qwen/Qwen2.5-Coder-1.5B"


def test_training_args_are_read_without_loading_them(tmp_path):
    arguments = TrainingArguments(learning_rate=5e-6, num_train_epochs=3, packing=True, bomb=Explosive(), max_steps=-1)
    pickled(tmp_path / "training_args.bin", arguments)
    assert training_settings(tmp_path) == {"learning rate": 5e-6, "epochs": 3, "packing": True}


def test_yaml_of_llama_factory_state_and_adapter(tmp_path):
    (tmp_path / "training_args.yaml").write_text("cutoff_len: 2048\nlearning_rate: 1e-5\ntemplate: qwen\n")
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 90, "num_input_tokens_seen": 12345}))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": "org/base"}))
    assert training_settings(tmp_path) == {
        "sequence length": 2048, "learning rate": 1e-5, "training template": "qwen", "LoRA rank": 8,
        "steps": 90, "tokens": 12345,
    }  # fmt: skip
    assert base_name(tmp_path) == "org/base"


def test_an_axolotl_config_in_the_card(tmp_path):
    (tmp_path / "README.md").write_text("```yaml\nsequence_len: 4096\nsample_packing: true\nlora_r: 32\n```")
    assert training_settings(tmp_path) == {"sequence length": 4096, "packing": True, "LoRA rank": 32}


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"---\n: [\n---", b"[1, 2]", b"{"])
def test_damaged_files_say_nothing(tmp_path, content):
    for name in ("README.md", "training_args.yaml", "training_args.bin", "trainer_state.json", "adapter_config.json"):
        (tmp_path / name).write_bytes(content)
    assert training_settings(tmp_path) == {}
    assert base_name(tmp_path) is None
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        (tmp_path / name).write_bytes(content)
    assert read_model("x", tmp_path).trainings == ()


def test_two_foreign_checkpoints(tmp_path):
    """Different rates, steps, bases, templates, networks and tokens are found without a record of ours."""
    for name, rate, steps, base, hidden in (("a", "5e-06", 90, "org/one", 64), ("b", "1e-05", 900, "org/two", 128)):
        place = tmp_path / name
        place.mkdir()
        (place / "README.md").write_text(CARD.replace("5e-06", rate).replace("Qwen/Qwen2.5-Coder-1.5B", base))
        (place / "trainer_state.json").write_text(json.dumps({"global_step": steps}))
        (place / "config.json").write_text(json.dumps({"model_type": "qwen2", "hidden_size": hidden}))
        (place / "tokenizer_config.json").write_text(json.dumps({"chat_template": f"{name} {{{{ messages }}}}"}))
        (place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {name: 0}}}))
    subjects = [Subject(name, read_model(name, tmp_path / name)) for name in "ab"]
    found = {finding.kind: finding.found for finding in preflight(subjects)}
    assert set(found) == {"network", "chat template", "base", "tokenizer", "learning rate", "training steps"}
    assert found["learning rate"] == "a: 5e-06; b: 1e-05"
    assert found["training steps"] == "a: 90; b: 900"
    assert found["base"] == "a: org/one; b: org/two"
