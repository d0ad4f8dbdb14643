"""Copies among rows: equal up to white space, or nearly equal by MinHash (Broder 1997) and a count of shared 5-grams.

Rows that agree in one band of their MinHash signatures are compared in full, so a row is never taken for a copy by
chance; of pairs at the lowest permitted similarity, 0.7, the bands miss one in a hundred, at 0.8 one in 20,000.

N rows, G grams of a row, H hashes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from src.data.examples import Example, Examples
from src.data.words import hash64, words
from src.utils.progress import track

ORDER = 5  # words of a gram
BANDS, PER_BAND = 25, 5
Grams = NDArray[np.uint64]
_DRAW = np.random.Generator(np.random.PCG64(0))
_WEIGHTS = _DRAW.integers(1 << 63, size=ORDER, dtype=np.uint64) | np.uint64(1)
_FACTORS = _DRAW.integers(1 << 63, size=(BANDS * PER_BAND, 1), dtype=np.uint64) | np.uint64(1)  # (H, 1)
_word_hash = lru_cache(1 << 16)(hash64)


@dataclass(frozen=True)
class Copy:
    """A row that copies an earlier one.

    Args:
        of: Id of the earlier row.
        near: False if they are equal up to white space.
        held_out: The earlier row is one of validation.
    """

    of: str
    near: bool
    held_out: bool

    def __str__(self) -> str:
        return f"{'near copies' if self.near else 'copies'} of {'validation rows' if self.held_out else 'other rows'}"


def find_copies(
    rows: Sequence[Example], similarity: float | None, held_out: Sequence[Example] = ()
) -> list[Copy | None]:
    """Find the rows that copy an earlier row that is no copy itself, or a held-out one.

    Args:
        rows: In order.
        similarity: Share of the 5-grams of two rows, question and answer together, that both must have for a near copy,
            0.7 to 1; None: only equal rows.
        held_out: Rows that no row may copy; a row with the same question does, whatever its answer.

    Returns:
        One per row; None: it is no copy.
    """
    everything = [*held_out, *rows]
    index = None if similarity is None else _NearIndex(everything, similarity)
    questions = {row.question: row.id for row in held_out}
    seen = dict[tuple[str, str], str]()
    for number in range(len(held_out) if index is not None else 0):
        assert index is not None
        index.keep(number)
    found = list[Copy | None]()
    for number, row in enumerate(rows, len(held_out)):
        key = row.question, " ".join(row.answer.split())
        copy = Copy(questions[row.question], False, True) if row.question in questions else None
        copy = copy or (Copy(seen[key], False, False) if key in seen else None)
        if copy is None and index is not None and (near := index.near(number)) is not None:
            copy = Copy(everything[near].id, True, near < len(held_out))
        if copy is None:
            seen[key] = row.id
            if index is not None:
                index.keep(number)
        found.append(copy)
    return found


def without_copies_of_others(
    sources: Sequence[Examples], similarity: float | None, held_out: Sequence[Example] = ()
) -> list[Examples]:
    """Leave out copies, also of rows of an earlier source, and count them by kind; see `find_copies`.

    Returns:
        The rows that are left, by source.
    """
    found = iter(find_copies([row for rows in sources for row in rows], similarity, held_out))
    cleaned = list[Examples]()
    for rows in sources:
        copies = [next(found) for _ in rows]
        left_out = rows.left_out + Counter(str(copy) for copy in copies if copy is not None)
        cleaned.append(Examples((row for row, copy in zip(rows, copies, strict=True) if copy is None), left_out))
    return cleaned


def similarity_of(one: Example, other: Example) -> float:
    """Share of the 5-grams of two rows that both have (Jaccard similarity), 0 to 1."""
    left, right = _grams(one), _grams(other)
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)


class _NearIndex:
    """Rows that are kept, by the bands of their signatures.

    Args:
        rows: All rows.
        similarity: As of `find_copies`.
    """

    def __init__(self, rows: Sequence[Example], similarity: float) -> None:
        self._rows, self._similarity = rows, similarity
        self._shared = _shared_bands(rows)
        self._kept = dict[tuple[int, int], list[int]]()

    def keep(self, row: int) -> None:
        """Compare later rows with this one."""
        for place in self._shared[row]:
            self._kept.setdefault(place, []).append(row)

    def near(self, row: int) -> int | None:
        """The first kept row that this one nearly equals."""
        candidates = sorted({other for place in self._shared[row] for other in self._kept.get(place, ())})
        alike = (other for other in candidates if self._is_near(row, other))
        return next(alike, None)

    def _is_near(self, row: int, other: int) -> bool:
        return similarity_of(self._rows[row], self._rows[other]) >= self._similarity


def _shared_bands(rows: Sequence[Example]) -> list[list[tuple[int, int]]]:
    """For each row, the (band, value) pairs that it shares with another row; most rows have none."""
    signatures = (_signature(_grams(row)) for row in track(rows, "comparing rows", total=len(rows)))
    bands = np.fromiter(signatures, np.dtype((np.uint64, BANDS)), len(rows))  # (N, bands)
    shared = [list[tuple[int, int]]() for _ in rows]
    for band in range(BANDS):
        _, groups, sizes = np.unique(bands[:, band], return_inverse=True, return_counts=True)
        for row in np.flatnonzero(sizes[groups] > 1).tolist():
            shared[row].append((band, int(groups[row])))
    return shared


def _signature(grams: Grams) -> NDArray[np.uint64]:
    """The bands of a MinHash signature, each as one number."""
    mixed = (grams * _FACTORS) >> np.uint64(32)  # (H, G)
    least = mixed.min(axis=1).reshape(BANDS, PER_BAND)
    joined: NDArray[np.uint64] = (least * _FACTORS[:PER_BAND, 0]).sum(axis=1, dtype=np.uint64)
    return joined


def _grams(row: Example) -> Grams:
    """Distinct hashes of the 5-grams of words in question and answer; a shorter text is one gram."""
    hashes = np.array([_word_hash(word) for word in words(_text(row))], np.uint64)
    if len(hashes) < ORDER:
        return np.array([hash64(_text(row))], np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(hashes, ORDER)
    return _mixed(np.unique((windows * _WEIGHTS).sum(axis=1, dtype=np.uint64)))


def _mixed(values: Grams) -> Grams:
    """Spread sums over all bits, since the signature keeps the upper ones of a product."""
    values = values ^ (values >> np.uint64(33))
    return values * np.uint64(0xFF51AFD7ED558CCD)


def _text(row: Example) -> str:
    return row.answer if row.prompt is None else f"{row.prompt}\n{row.answer}"


def overlap_counts(train: Sequence[Example], validation: Iterable[Example], similarity: float) -> dict[str, int]:
    """Count the validation rows that training rows copy.

    Args:
        train: Rows to train on, of all tasks.
        validation: Rows of one task.
        similarity: As of `find_copies`.

    Returns:
        `rows`, `copies` (same question) and `near copies` of validation.
    """
    rows = list(validation)
    index = _NearIndex([*train, *rows], similarity)
    for number in range(len(train)):
        index.keep(number)
    questions = {row.question for row in train}
    same = [row.question in questions for row in rows]
    near = [not equal and index.near(len(train) + place) is not None for place, equal in enumerate(same)]
    return {"rows": len(rows), "copies": sum(same), "near copies": sum(near)}
