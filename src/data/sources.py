"""Training rows from files and data sets, by the names of their fields."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from string import Formatter
from typing import Any

from src.data.examples import Example, Examples, Unusable
from src.data.forms import Form
from src.data.prompts import render_user_turn
from src.data.records import DataSet, Record, find_data
from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.progress import say, track
from src.utils.seeding import derive_seed

NOT_OF_THE_ROWS = (
    "form",
    "data",
    "streaming",
    "weight",
)  # fields of a source that do not change a row, or are hashed apart
CERTAIN = 40  # so many rows are held out on average of those that decide if any is: none are with probability e^-40


@dataclass(frozen=True)
class RecordSource:
    """Rows of `.jsonl`, `.json`, `.parquet` files (plain or gzipped JSON) or of a data set on the Hub.

    Args:
        task: Task of the rows.
        data: Places to look for the rows; the first that exists is read: file patterns with `{split}`, or
            `owner/name[:config][@revision]` of a data set on the Hub.
        user_prompt: The user turn; its `{names}` are fields of the record.
        answer: Field of the answer.
        system: Field of the system turn; None: `system` if the form returns one, otherwise that of the chat template.
        fields: Our name of a field -> its name in the records, if they differ.
        form: Converts a record into these fields (see `src.data.forms`); None: it already has them.
        id: Field that names a row in messages, or a text with fields in braces (`Mbpp/{task_id}`, as the benchmark
            names its problems); None: its location.
        keep: Field -> value, or [first, last] of numbers; other records are skipped.
        held_out: Share of the training rows set aside for validation; 0: validation has its own files. A hash of the
            question decides, so that copies of a row stay together, wherever their files are.
        limits: Split -> maximum number of rows, chosen by a hash of their questions and ids.
        first: Split -> read only its first rows, so many that `keep` lets through; held-out rows are taken from those
            of `train`.
        streaming: Read a data set of the Hub while it is downloaded, without a copy on disk.
        weight: Passes over the rows per epoch of training: 2 repeats each, 0.5 takes half of them, the other half in
            the next epoch.

    Raises:
        UserError: `weight` is not above 0.
    """

    task: str
    data: Sequence[str] | str
    user_prompt: str
    answer: str
    system: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    form: Form | None = None
    id: str | None = None
    keep: Mapping[str, Any] = field(default_factory=dict)
    held_out: float = 0.0
    limits: Mapping[str, int] = field(default_factory=dict)
    first: Mapping[str, int] = field(default_factory=dict)
    streaming: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_weight(self.weight, self.task)

    def examples(self, split: str) -> Examples:
        """All usable rows of a split, in the order of the data, with counts of the others.

        Raises:
            UserError: No data, a malformed row or a missing field (row and field are named), or no rows are left.
        """
        rows = Examples()
        for _, row in self._split(split):
            if isinstance(row, Example):
                rows.append(row)
            else:
                rows.left_out[str(row)] += 1
        if rows.left_out:
            reasons = ", ".join(f"{count} {reason}" for reason, count in rows.left_out.most_common())
            total = len(rows) + rows.left_out.total()
            say(f"{self._data(split).name}: {rows.left_out.total()} of {total} {split} rows left out: {reasons}")
        if not rows:
            name = self._data(split).name
            raise UserError(f"{name}: no {split} rows for task {self.task}; check keep, held_out, fields and answer")
        return self._limited(rows, split)

    def records(self, split: str) -> Iterator[Record]:
        """Yield the records of a split that are kept, in the order of the data."""
        return (record for record, _ in self._split(split))

    def is_local(self, split: str) -> bool:
        """True if the rows of a split are in files, so that reading them needs no network."""
        try:
            return bool(self._data(split).files)
        except UserError:
            return False

    def state(self, split: str) -> tuple[Any, ...]:
        """Return a key that changes when the rows of a split may have changed, without reading them."""
        data = self._data(split)
        files = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in data.files]
        return (data.name, *files, sha256_json(self._options()))

    def fingerprint(self, split: str) -> str:
        """Hash of everything that determines the rows: equal hashes mean equal rows."""
        form = "" if self.form is None else getattr(self.form, "func", self.form).__qualname__
        return sha256_json([self._data(split).fingerprint(), self._options(), form, split])

    def _options(self) -> Any:
        """The fields that determine the rows, but for form and data."""
        return _plain({name: value for name, value in vars(self).items() if name not in NOT_OF_THE_ROWS})

    def _data(self, split: str) -> DataSet:
        places = [self.data] if isinstance(self.data, str) else self.data
        return find_data(places, self._split_of_data(split), f"tasks.{self.task}.sources", self.streaming)

    def _split_of_data(self, split: str) -> str:
        """The split of the data that the rows come from."""
        return "train" if self.held_out and split == "validation" else split

    def _split(self, split: str) -> Iterator[tuple[Record, Example | Unusable]]:
        data = self._data(split)
        records = track(data.records(), f"reading {self.task} {split}", total=data.size())
        kept = islice(filter(self._is_kept, records), self.first.get(self._split_of_data(split)))
        rows = ((record, self._example(record)) for record in kept)
        if not self.held_out or split == "test":
            yield from rows
            return
        drawn = ((record, row, self._draw(row)) for record, row in rows)
        first = list(islice(drawn, math.ceil(CERTAIN / self.held_out)))
        limit = self._highest_held_out([draw for *_, draw in first])
        for record, row, draw in chain(first, drawn):
            if (draw <= limit) == (split == "validation"):
                yield record, row

    def _highest_held_out(self, draws: Sequence[float]) -> float:
        """The share to hold out, or more, so that data of at least two questions has a validation row."""
        usable = sorted({draw for draw in draws if draw <= 1})
        return max(self.held_out, usable[0]) if len(usable) > 1 else self.held_out

    def _draw(self, row: Example | Unusable) -> float:
        """A number from 0 to 1 that decides the split; above 1 for a row that is left out, which training counts."""
        if isinstance(row, Unusable):
            return math.inf
        return derive_seed("held out", self.task, row.question) / 2**63

    def _is_kept(self, record: Record) -> bool:
        for name, wanted in self.keep.items():
            value = _value(record, name)
            if isinstance(wanted, Sequence) and not isinstance(wanted, str):
                first, last = wanted
                if not isinstance(value, int | float) or not first <= value <= last:
                    return False
            elif value != wanted:
                return False
        return True

    def _id(self, record: Record) -> str:
        if self.id is None:
            return record.place
        if "{" not in self.id:
            return str(_value(record, self.id))
        return render_user_turn(self.id, **{name: str(_value(record, name)) for name in _places(self.id)})

    def _example(self, record: Record) -> Example | Unusable:
        found = {ours: _value(record, theirs) for ours, theirs in self.fields.items()}
        shaped = Record(record.place, {**record.fields, **found})
        if self.form is not None:
            try:
                shaped = self._shaped(shaped, self.form)
            except Unusable as reason:
                return reason
        values = {name: self._text(shaped, name) for name in _places(self.user_prompt)}
        answer, system = self._text(shaped, self.answer), self._system(shaped)
        turns = [*values.values(), answer, system or ""]
        if not answer.strip():
            return Unusable("without an answer")
        if values and not any(value.strip() for value in values.values()):
            return Unusable("without a question")
        if not all(map(_is_unicode, turns)):
            return Unusable("with text that is not Unicode (a lone surrogate)")
        prompt = render_user_turn(self.user_prompt, **values)
        return Example(self._id(record), self.task, prompt, answer, system)

    def _system(self, record: Record) -> str | None:
        name = self.system or ("system" if self.form is not None and "system" in record.fields else None)
        return None if name is None else self._text(record, name) or None

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
            return Record(record.place, form(record.fields))
        except KeyError as error:
            raise _missing(record, str(error.args[0])) from error
        except (TypeError, AttributeError) as error:
            raise UserError(f"{record.place}: a field has an unexpected type ({error})") from error

    def _limited(self, rows: Examples, split: str) -> Examples:
        limit = self.limits.get(split)
        if limit is None or limit >= len(rows):
            return rows
        order = sorted(range(len(rows)), key=lambda index: derive_seed("limit", self.task, rows[index].question))
        return Examples([rows[index] for index in sorted(order[:limit])], rows.left_out)


def require_weight(weight: float, task: str) -> None:
    """Check the weight of a source.

    Raises:
        UserError: It is not above 0.
    """
    if not 0 < weight < math.inf:
        raise UserError(f"tasks.{task}.sources.*.weight must be above 0, got {weight}; leave a source out with null")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
