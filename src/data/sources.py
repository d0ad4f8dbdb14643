"""Training rows from files and data sets, by the names of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from src.data.examples import Example
from src.data.forms import Form
from src.data.prompts import render_user_turn
from src.data.records import DataSet, Record, find_data
from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.progress import say, track
from src.utils.seeding import derive_seed


@dataclass(frozen=True)
class RecordSource:
    """Rows of `.jsonl`, `.json`, `.parquet` files (plain or gzipped JSON) or of a data set on the Hub.

    Args:
        task: Task of the rows.
        data: Places to look for the rows; the first that exists is read: file patterns with `{split}`, or
            `owner/name[:config]` of a data set on the Hub.
        user_prompt: The user turn; its `{names}` are fields of the record.
        answer: Field of the answer.
        fields: Our name of a field -> its name in the records, if they differ.
        form: Converts a record into these fields (see `src.data.forms`); None: it already has them.
        id: Field that identifies a row and decides, with `held_out`, which split it is in, or a text with fields in
            braces (`Mbpp/{task_id}`, as the benchmark names its problems); None: its location.
        keep: Field -> value, or [first, last] of numbers; other records are skipped.
        held_out: Share of the training rows set aside for validation; 0: validation has its own files.
        limits: Split -> maximum number of rows, chosen by a hash of their ids.
    """

    task: str
    data: Sequence[str] | str
    user_prompt: str
    answer: str
    fields: Mapping[str, str] = field(default_factory=dict)
    form: Form | None = None
    id: str | None = None
    keep: Mapping[str, Any] = field(default_factory=dict)
    held_out: float = 0.0
    limits: Mapping[str, int] = field(default_factory=dict)

    def examples(self, split: str) -> list[Example]:
        """All rows of a split, in the order of the data.

        Raises:
            UserError: No data, a malformed row or a missing field (row and field are named), or no rows are left.
        """
        data, left_out, rows = self._data(split), 0, list[Example]()
        for record in self.records(split):
            example = self._example(record)
            left_out += example is None
            rows += [example] if example is not None else []
        if left_out:
            say(f"{data.name}: {left_out} of {left_out + len(rows)} {split} rows have no usable answer; left out")
        if not rows:
            raise UserError(f"{data.name}: no {split} rows for task {self.task}; check keep, held_out and answer")
        return self._limited(rows, split)

    def records(self, split: str) -> Iterator[Record]:
        """Yield the records of a split that are kept, in the order of the data."""
        data = self._data(split)
        for record in track(data.records(), f"reading {self.task} {split}", total=data.size()):
            if self._is_kept(record) and self._is_in(split, record):
                yield record

    def state(self, split: str) -> tuple[Any, ...]:
        """Return a key that changes when the rows of a split may have changed, without reading them."""
        data = self._data(split)
        files = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in data.files]
        options = sha256_json(
            _plain({name: value for name, value in vars(self).items() if name not in ("form", "data")})
        )
        return (data.name, *files, options)

    def fingerprint(self, split: str) -> str:
        """Hash of everything that determines the rows: equal hashes mean equal rows."""
        options = {name: value for name, value in vars(self).items() if name not in ("form", "data")}
        form = "" if self.form is None else getattr(self.form, "func", self.form).__qualname__
        return sha256_json([self._data(split).fingerprint(), _plain(options), form, split])

    def _data(self, split: str) -> DataSet:
        places = [self.data] if isinstance(self.data, str) else self.data
        theirs = "train" if self.held_out and split == "validation" else split
        return find_data(places, theirs, f"tasks.{self.task}.sources")

    def _is_kept(self, record: Record) -> bool:
        for name, wanted in self.keep.items():
            value = _value(record, name)
            if isinstance(wanted, Sequence) and not isinstance(wanted, str):
                first, last = wanted
                if not first <= value <= last:
                    return False
            elif value != wanted:
                return False
        return True

    def _is_in(self, split: str, record: Record) -> bool:
        if not self.held_out or split == "test":
            return True
        draw = derive_seed("held out", self.task, self._id(record)) / 2**63
        return (draw < self.held_out) == (split == "validation")

    def _id(self, record: Record) -> str:
        if self.id is None:
            return record.place
        if "{" not in self.id:
            return str(_value(record, self.id))
        return render_user_turn(self.id, **{name: str(_value(record, name)) for name in _places(self.id)})

    def _example(self, record: Record) -> Example | None:
        found = {ours: _value(record, theirs) for ours, theirs in self.fields.items()}
        shaped = Record(record.place, {**record.fields, **found})
        if self.form is not None:
            shaped = self._shaped(shaped, self.form)
            if not shaped.fields:
                return None
        values = {name: self._text(shaped, name) for name in _places(self.user_prompt)}
        answer = self._text(shaped, self.answer)
        if not answer.strip():
            return None
        return Example(self._id(record), self.task, render_user_turn(self.user_prompt, **values), answer)

    def _text(self, record: Record, name: str) -> str:
        value = _value(record, name)
        if value is None:
            return ""
        if not isinstance(value, str):
            theirs = self.fields.get(name, name)
            raise UserError(
                f"{record.place}, field {theirs!r}: expected text, got {type(value).__name__} {value!r:.40}"
            )
        return value

    def _shaped(self, record: Record, form: Form) -> Record:
        try:
            return Record(record.place, form(record.fields) or {})
        except KeyError as error:
            raise _missing(record, str(error.args[0])) from error
        except (TypeError, AttributeError) as error:
            raise UserError(f"{record.place}: a field has an unexpected type ({error})") from error

    def _limited(self, rows: list[Example], split: str) -> list[Example]:
        limit = self.limits.get(split)
        if limit is None or limit >= len(rows):
            return rows
        order = sorted(range(len(rows)), key=lambda index: derive_seed("limit", self.task, rows[index].id))
        return [rows[index] for index in sorted(order[:limit])]


def _places(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name]


def _value(record: Record, name: str) -> Any:
    if name not in record.fields:
        raise _missing(record, name)
    return record.fields[name]


def _missing(record: Record, name: str) -> UserError:
    there = ", ".join(sorted(record.fields))
    return UserError(f"{record.place}: no field {name!r}; available: {there} (fix fields, answer or id of the source)")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, (list, tuple)) else value
