"""Config and tokenizer of a merge where the specialists disagree on what does not change the forward pass.

What they agree on is theirs, since it belongs to the fine-tuning; anything else is the base's. Neither the order of the
specialists nor their number decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.checkpoints.side_files import side_files
from src.merging.engine.chat_files import SPECIAL, TOKEN_IDS
from src.utils.files import read_json_object, write_json

BY_FIELD = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
DECIDED = ("generation_config.json", "chat_template")  # by keys of their own
# Written with the weights, or compared over all files: the same may be said in another file of another specialist.
KEPT = ("dtype", "torch_dtype", "chat_template", *SPECIAL, *TOKEN_IDS)
_ABSENT = object()


def settle_files(directory: Path, base: Path, specialists: Mapping[str, Path]) -> None:
    """Replace what the specialists disagree on by what the base has.

    Args:
        directory: Config and tokenizer of one of the specialists, which are changed.
        base: Checkpoint directory of the base.
        specialists: Checkpoint or adapter directories by name.
    """
    for path in side_files(directory):
        name = path.relative_to(directory).as_posix()
        having = [place / name for place in specialists.values() if (place / name).is_file()]
        if name.startswith(DECIDED) or len({file.read_bytes() for file in having}) < 2:
            continue
        if name in BY_FIELD:
            default = read_json_object(base / name) if (base / name).is_file() else {}
            ours = read_json_object(path)
            found = _settled([read_json_object(file) for file in having], default)
            settled = {key: value for key, value in found.items() if key not in KEPT}
            settled |= {key: ours[key] for key in KEPT if key in ours}
            if settled != ours:
                write_json(path, settled)
        elif (base / name).is_file():
            path.write_bytes((base / name).read_bytes())


def _settled(stated: Sequence[Mapping[str, Any]], default: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in sorted({key for one in stated for key in one}):
        values = [one.get(key, _ABSENT) for one in stated]
        other = default.get(key, _ABSENT)
        if all(isinstance(value, dict) for value in values):
            found[key] = _settled(values, other if isinstance(other, dict) else {})
        elif (value := values[0] if all(value == values[0] for value in values) else other) is not _ABSENT:
            found[key] = value
    return found
