"""Config and tokenizer files that every version of transformers reads alike.

transformers 5 writes files that version 4, and tools built on it, cannot open (tokenizers of class `TokenizersBackend`,
special tokens as a list), or opens with other values: it looks for `rope_theta`, does not find it in
`rope_parameters`, and rotates by its default, without an error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from src.checkpoints.side_files import copy_files, side_files
from src.utils.files import write_json

CONFIG, TOKENIZER = "config.json", "tokenizer_config.json"
CONFIGS = {CONFIG, "generation_config.json"}  # of the network
TEMPLATES = ("chat_template.jinja", "chat_template.json")  # where the template may be instead of tokenizer_config.json
NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def save_config(config: PreTrainedConfig, directory: Path) -> None:
    """Write `config.json` with the rotary settings and the type under their names in transformers 4, too.

    Args:
        config: Of the network.
        directory: Existing directory.
    """
    config.save_pretrained(directory)
    path = directory / CONFIG
    written = json.loads(path.read_text(encoding="utf-8"))
    rotary = written.get("rope_parameters")
    if isinstance(rotary, dict) and "rope_type" in rotary:
        scaling = {name: value for name, value in rotary.items() if name != "rope_theta"}
        written["rope_theta"] = rotary["rope_theta"]
        written["rope_scaling"] = None if scaling["rope_type"] == "default" else scaling
    if "dtype" in written:
        written["torch_dtype"] = written["dtype"]
    write_json(path, dict(sorted(written.items())))


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write the files of a tokenizer: those it was loaded from, with what was changed since.

    Args:
        tokenizer: Loaded from a directory, perhaps with another chat template or end token; or made here.
        directory: Existing directory.
    """
    source = Path(tokenizer.name_or_path)
    if tokenizer.name_or_path and (source / TOKENIZER).is_file():
        files = [path for path in side_files(source) if path.name not in CONFIGS]
        copy_files(files, source, directory)
        changes = _changes(tokenizer, AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    else:
        tokenizer.save_pretrained(directory)
        changes = {} if tokenizer.chat_template is None else {"chat_template": tokenizer.chat_template}
    if "chat_template" in changes:  # one home for it, which all versions know
        for name in TEMPLATES:
            (directory / name).unlink(missing_ok=True)
    _rewrite(directory / "special_tokens_map.json", {key: changes[key] for key in NAMED_TOKENS if key in changes})
    _rewrite(directory / TOKENIZER, changes)


def _changes(tokenizer: PreTrainedTokenizerBase, before: PreTrainedTokenizerBase) -> dict[str, Any]:
    names = (*NAMED_TOKENS, "chat_template")
    return {name: getattr(tokenizer, name) for name in names if getattr(tokenizer, name) != getattr(before, name)}


def _rewrite(path: Path, changes: dict[str, Any]) -> None:
    """Change values of a JSON file, and the names that only transformers 5 knows; an absent file stays absent."""
    if not path.is_file():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    after = {**before, **changes}
    if after.get("tokenizer_class") == "TokenizersBackend":
        after["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(after.get("extra_special_tokens"), list):
        after["additional_special_tokens"] = after.pop("extra_special_tokens")
    if after != before:
        write_json(path, after)
