"""Config and tokenizer of a merge: what the specialists agree on is theirs, anything else the base's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from src.merging.engine.side_files import write_side_files
from tests.merging.tools import recipe


def parent(directory: Path, tokenizer: dict[str, Any] | None, vocabulary: str = "{}", **config: Any) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "qwen2", **config}))
    if tokenizer is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
        (directory / "tokenizer.json").write_text(vocabulary)
    return directory


def written(directory: Path, base: Path, specialists: dict[str, Path], **keys: Any) -> dict[str, Any]:
    write_side_files(directory, base, specialists, recipe("linear", **keys))
    return {path.name: json.loads(path.read_text()) for path in directory.glob("*.json")}


def test_fields_one_by_one_and_in_any_order(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", {"model_max_length": 8}, '{"padding": 0}', use_cache=True, rare={"a": 1, "b": 1})
    pair = {
        "codegen": parent(
            tmp_path / "codegen",
            {"model_max_length": 16, "padding_side": "left", "eos_token": "<e>", "chat_template": "t"},
            '{"padding": 1}',
            use_cache=False,
            _name_or_path="x",
            rare={"a": 2, "b": 2},
            pad=1,
        ),
        "codesum": parent(
            tmp_path / "codesum",
            {"model_max_length": 16, "padding_side": "right", "eos_token": "<e>", "chat_template": "t"},
            '{"padding": 2}',
            use_cache=False,
            _name_or_path="y",
            rare={"a": 2, "b": 3},
            pad=2,
        ),
    }
    found = written(tmp_path / "one", base, pair)
    assert found == written(tmp_path / "two", base, dict(reversed(pair.items())))
    assert found["config.json"] == {"model_type": "qwen2", "use_cache": False, "rare": {"a": 2, "b": 1}}
    assert found["tokenizer_config.json"] == {"model_max_length": 16, "eos_token": "<e>", "chat_template": "t"}
    assert found["tokenizer.json"] == {"padding": 0}


def test_a_template_in_another_file_is_not_lost(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", {})
    pair = {name: parent(tmp_path / name, {"chat_template": "t"}) for name in ("codegen", "codesum")}
    (pair["codesum"] / "tokenizer_config.json").write_text("{}")
    (pair["codesum"] / "chat_template.jinja").write_text("t")
    found = written(tmp_path / "out", base, pair)
    assert found["tokenizer_config.json"] == {"chat_template": "t"}


def test_a_parent_that_is_named_decides(tmp_path: Path) -> None:
    base = parent(tmp_path / "base", {})
    pair = {name: parent(tmp_path / name, {"padding_side": name}, use_cache=name) for name in ("codegen", "codesum")}
    found = written(tmp_path / "out", base, pair, template="codesum")
    assert found["config.json"]["use_cache"] == found["tokenizer_config.json"]["padding_side"] == "codesum"
