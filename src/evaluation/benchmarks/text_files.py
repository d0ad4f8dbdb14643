"""Predictions and references as files: `id<TAB>text` lines, JSON lines, or a JSON list of texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from src.utils.errors import UserError
from src.utils.jsonl import iterate_jsonl
from src.utils.progress import say

Side = Literal["prediction", "reference"]
ID_KEYS = ("id", "task_id", "idx", "doc_id", "url")
# Fields that say which side they are: ours, LLaMA-Factory's (predict, label), lm-eval's (filtered_resps, target).
OWN_KEYS: dict[Side, tuple[str, ...]] = {
    "prediction": ("prediction", "predict", "completion", "filtered_resps"),
    "reference": ("reference", "label", "target"),
}
EITHER_KEYS = ("docstring", "text", "summary")  # used where no field names its side


@dataclass(frozen=True)
class Texts:
    """Texts of a file.

    Attributes:
        by_id: id -> text, in the order of the file.
        bare: Ids of lines without a tab, whose text is empty.
        field: Field of the rows that holds the text; None for lines and lists.
    """

    by_id: dict[str, str]
    bare: frozenset[str] = frozenset()
    field: str | None = None


def read_pair(
    predictions: Path, references: Path, prediction_field: str | None = None, reference_field: str | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Read predictions and references with the same ids.

    Prediction lines that are an id and nothing else are empty texts, as in CodeXGLUE's evaluator; where their id has no
    reference (the rest of a text with a line break), they are ignored with a message.

    Args:
        predictions: File of `read_texts`.
        references: File of `read_texts`.
        prediction_field: Field of the predictions' text; None: found by name.
        reference_field: The same for the references.

    Returns:
        id -> text of the predictions, and of the references.

    Raises:
        UserError: A file is malformed, an id is in only one of them, or both sides are the same field of one file.
    """
    wanted = read_texts(references, "reference", reference_field)
    got = read_texts(predictions, "prediction", prediction_field)
    if predictions.samefile(references) and got.field is not None and got.field == wanted.field:
        raise UserError(
            f"predictions={predictions} and references={references} are the same field `{got.field}` of one file; set "
            "prediction_field= and reference_field="
        )
    strays = [item for item in got.bare if item not in wanted.by_id]
    if strays:
        say(f"{predictions}: {len(strays)} lines without a tab belong to no reference and are ignored, as by CodeXGLUE")
    return {item: text for item, text in got.by_id.items() if item not in strays}, wanted.by_id


def read_texts(path: Path, side: Side = "reference", field: str | None = None) -> Texts:
    r"""Read texts by id from `id<TAB>text` lines, `.jsonl(.gz)` rows, or a `.json` list of texts.

    Lines are split as by CodeXGLUE's evaluator: at `\n` and `\r`; a prediction ends at its second tab.

    Args:
        path: JSON rows name the id with one of `ID_KEYS` (without any: the row number). A list may hold lists of texts,
            whose first one counts (`generations.json` of bigcode-evaluation-harness).
        side: Selects the accepted fields: `OWN_KEYS`, else `EITHER_KEYS`.
        field: Field of the text; None: found by name.

    Raises:
        UserError: The file is missing or empty, a reference has no tab, a row has no text or more than one that could
            be meant, or an id occurs twice.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    if path.name.endswith((".jsonl", ".jsonl.gz", ".json")):
        found = _json_texts(path, side, field)
    elif field is not None:
        raise UserError(f"{side}_field={field}: {path} has lines of id<TAB>text; expected .jsonl, .jsonl.gz or .json")
    else:
        found = _tab_texts(path, side)
    if not found.by_id:
        raise UserError(f"{path} is empty; expected one text per line")
    return found


def _tab_texts(path: Path, side: Side) -> Texts:
    texts: dict[str, str] = {}
    bare = set()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        item, tab, text = (line.strip() if side == "prediction" else line).partition("\t")
        item = item.strip()
        if not tab and side == "reference":
            raise UserError(f"{path}, line {number}: expected id<TAB>text, got {line[:40]!r}")
        if not tab:
            bare.add(item)
        _add(texts, item, text.partition("\t")[0] if side == "prediction" else text, path, again=not tab)
    return Texts(texts, frozenset(bare))


def _add(texts: dict[str, str], item: str, text: str, path: Path, again: bool = False) -> None:
    if item in texts and not (again and not texts[item]):
        raise UserError(f"{path}: expected unique ids, but {item} occurs twice")
    texts[item] = text


def _json_texts(path: Path, side: Side, field: str | None) -> Texts:
    texts: dict[str, str] = {}
    for number, row in enumerate(_json_rows(path)):
        where = f"{path}, row {number + 1}"
        if not isinstance(row, dict):
            _add(texts, str(number), _as_text(row, where), path)
            continue
        field = field or _field_of(row, side, where)
        if field not in row:
            raise UserError(f"{where}: expected the {side} in `{field}`, got {sorted(row)}; set {side}_field=")
        item = next((str(row[key]) for key in ID_KEYS if key in row), str(number))
        _add(texts, item, _as_text(row[field], f"{where}, field {field}"), path)
    return Texts(texts, field=field)


def _json_rows(path: Path) -> Iterator[Any]:
    if path.suffix != ".json":
        yield from iterate_jsonl(path)
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from error
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a list of texts or rows, got {type(content).__name__}")
    yield from content


def _field_of(row: dict[str, Any], side: Side, where: str) -> str:
    """Name the only field of a row that can be meant."""
    for keys in (OWN_KEYS[side], EITHER_KEYS):
        found = [key for key in keys if key in row]
        if len(found) > 1:
            raise UserError(f"{where}: {' and '.join(found)} could both be the {side}; set {side}_field=")
        if found:
            return found[0]
    known = ", ".join((*OWN_KEYS[side], *EITHER_KEYS))
    raise UserError(f"{where}: expected one of {known}, got {sorted(row)}; set {side}_field=")


def _as_text(value: Any, where: str) -> str:
    """Return a text, or the only or first of a list (lm-eval's and bigcode's answers to one prompt)."""
    inner = value
    while isinstance(inner, list) and inner:
        inner = inner[0]
    if not isinstance(inner, str):
        raise UserError(f"{where}: expected a text, got {json.dumps(value)[:60]}")
    return inner
