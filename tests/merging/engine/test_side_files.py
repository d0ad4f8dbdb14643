"""Files of a merge beside its weights: all that the base has, unless it is weights or about one run."""

from __future__ import annotations

import json
from pathlib import Path

from src.checkpoints.fingerprint import fingerprint
from src.merging.engine.side_files import write_side_files
from tests.merging.tools import random_family, recipe, write_family

KEPT = [
    *("modeling_ours.py", "configuration_ours.py", "LICENSE", "NOTICE.txt", "USE_POLICY.md", "LICENSE.md"),
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    *("tokenizer.model", "spiece.model", "qwen.tiktoken", "tekken.json", "source.spm", "bpe.codes", "vocab.txt"),
    *("vocab.json", "merges.txt", "special_tokens_map.json", "chat_template.jinja", "generation_config.json"),
    *("code/blocks.py", "additional_chat_templates/tools.jinja"),
]
LEFT = [
    *("pytorch_model.bin", "model.gguf", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"),
    *("trainer_state.json", "pytorch_model.bin.index.json", "README.md", ".gitattributes", "metrics.jsonl"),
    *("checkpoint-500/config.json", "checkpoint-500/modeling_old.py", "global_step9/x.json", "zero_to_fp32.py"),
    *("nested/config.json", "nested/tokenizer.json", "all_results.json", "layers.csv"),
]


def fill(directory: Path, names: list[str], text: str = "{}") -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


def test_all_that_the_base_has_but_weights_and_records(tmp_path: Path) -> None:
    base, specialists = write_family(tmp_path, *random_family())
    fill(base.path, [*KEPT, *LEFT])
    places = {name: parent.path for name, parent in specialists.items()}
    write_side_files(tmp_path / "out", base.path, places, recipe("linear", tokenizer="equal"))
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert written == set(KEPT)
    fill(places["codegen"], [*KEPT, *LEFT], "[]")
    write_side_files(tmp_path / "all", base.path, places, recipe("linear"))
    written = {
        path.relative_to(tmp_path / "all").as_posix() for path in (tmp_path / "all").rglob("*") if path.is_file()
    }
    assert written == set(KEPT)
    assert (tmp_path / "all" / "tekken.json").read_text() == "[]"
    assert (tmp_path / "all" / "preprocessor_config.json").read_text() == "[]"
    assert (tmp_path / "all" / "modeling_ours.py").read_text() == "{}"


def test_a_tokenizer_is_taken_whole(tmp_path: Path) -> None:
    """The base's chat template beside the specialist's tokenizer would win over the one in its config."""
    base, specialists = write_family(tmp_path, *random_family())
    fill(base.path, ["tokenizer.json", "chat_template.jinja", "generation_config.json"])
    places = {name: parent.path for name, parent in specialists.items()}
    fill(places["codegen"], ["tokenizer.json", "tokenizer_config.json"], "[]")
    write_side_files(tmp_path / "out", base.path, places, recipe("linear"))
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == {"tokenizer.json": "[]", "tokenizer_config.json": "[]", "generation_config.json": "{}"}


def test_the_config_says_the_dtype_of_the_weights(tmp_path: Path) -> None:
    base, specialists = write_family(tmp_path, *random_family())
    (base.path / "config.json").write_text('{"torch_dtype": "bfloat16"}')
    for parent in specialists.values():
        (parent.path / "config.json").write_text('{"dtype": "float32"}')
    places = {name: parent.path for name, parent in specialists.items()}
    write_side_files(tmp_path / "out", base.path, places, recipe("linear"))
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"dtype": "bfloat16"}


def test_files_that_are_not_the_model_do_not_change_what_it_is(tmp_path: Path) -> None:
    base, _ = write_family(tmp_path, *random_family())
    (base.path / "config.json").write_text("{}")
    before = fingerprint(base.path)
    fill(base.path, ["README.md", "optimizer.pt", "trainer_state.json", "LICENSE", "preprocessor_config.json"])
    assert fingerprint(base.path) == before
