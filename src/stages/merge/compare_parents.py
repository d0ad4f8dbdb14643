"""`merge.py compare=[A,B,...]`: what fits together, and the line that merges it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.merging.engine.fit import Fit, compare_pair, open_choices, working_mode
from src.merging.tensors.lora_adapter import is_adapter
from src.merging.tensors.parent import Parent, open_parents
from src.reporting.console import print_lines, print_table
from src.runs.paths import checkpoint_label
from src.stages.checkpoints import written_checkpoint
from src.stages.job import quoted_override
from src.stages.merge.parent_rows import PARENT_COLUMNS, parent_rows
from src.utils.errors import UserError

FIT_COLUMNS = ("pair", "network", "tensors", "tokens", "chat files", "cosine of the weights", "merges with")
HOW = {
    "equal": "any method",
    "shared": "any method and merge.tokenizer=shared",
    "union": "any method and merge.tokenizer=union or base",
    None: "nothing",
}


def compare_parents(paths: Sequence[str], allow_pickle: bool) -> None:
    """Print checkpoints, every pair of them side by side, and the command that merges those that fit together.

    Args:
        paths: Directories, or names of the Hub; an adapter is taken as one of the first full checkpoint.
        allow_pickle: See `Checkpoint`.

    Raises:
        UserError: There are fewer than two, or one of them is no checkpoint.
    """
    if len(paths) < 2:
        raise UserError(f"compare={list(paths)}: expected two or more checkpoints, e.g. compare=[A,B]")
    typed = dict(zip(_labels(paths), paths, strict=True))
    parents = _opened(
        {label: written_checkpoint(path, "compare", allow_pickle) for label, path in typed.items()}, allow_pickle
    )
    print_table("Checkpoints", PARENT_COLUMNS, list(parent_rows(parents)))
    pairs = list(itertools.combinations(parents, 2))
    fits = {pair: compare_pair(parents[pair[0]], parents[pair[1]]) for pair in pairs}
    print_table("Pairs", FIT_COLUMNS, [_fit_row(" and ".join(pair), fit) for pair, fit in fits.items()])
    print_lines(_advice(typed, parents, fits))


def _labels(paths: Sequence[str]) -> list[str]:
    """Names that can be typed after `specialists.`, one per path."""
    found: list[str] = []
    for path in paths:
        label = re.sub(r"\W+", "_", checkpoint_label(path)).strip("_") or "model"
        label = f"{label}_model" if label == "base" else label
        found.append(label if label not in found else f"{label}_{len(found) + 1}")
    return found


def _opened(places: Mapping[str, Path], allow_pickle: bool) -> dict[str, Parent]:
    full = next((label for label, path in places.items() if not is_adapter(path)), None)
    if full is None:
        raise UserError("compare= has only adapters; name the checkpoint that they adapt as well")
    base, others = open_parents(places[full], {k: v for k, v in places.items() if k != full}, allow_pickle)
    return {label: base if label == full else others[label] for label in places}


def _fit_row(pair: str, fit: Fit) -> tuple[str, ...]:
    tokens = "no tokenizer" if fit.tokens is None else "same"
    if fit.tokens is not None and any(fit.tokens):
        tokens = "{} missing, {} added, {} moved".format(*fit.tokens)
    likeness = "not comparable" if fit.likeness is None else f"{fit.likeness:.4f}"
    related = "" if fit.likeness is None else ": one origin" if fit.are_related else ": unrelated"
    return (
        pair,
        _first(fit.network),
        _first(fit.tensors),
        tokens,
        ", ".join(fit.chat) or "same",
        likeness + related,
        HOW[fit.mode],
    )


def _first(lines: Sequence[str]) -> str:
    return "same" if not lines else lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def _advice(typed: Mapping[str, str], parents: Mapping[str, Parent], fits: Mapping[tuple[str, str], Fit]) -> list[str]:
    base = _base(parents, fits)
    fitting = {
        label: parent
        for label, parent in parents.items()
        if label != base and working_mode(parents[base], {label: parent}) is not None
    }
    left = [label for label in parents if label != base and label not in fitting]
    lines = [f"{', '.join(left)}: no merge with {base}"] if left else []
    if not fitting:
        return lines
    merged = fitting if len(fitting) > 1 or len(parents) > 2 else dict(parents)
    mode = working_mode(parents[base], merged)
    if mode is None:
        return [*lines, "no merge.tokenizer fits all of them at once; compare fewer"]
    words = [f"base={typed[base]}", *(f"specialists.{label}={typed[label]}" for label in merged)]
    words += [f"merge.tokenizer={mode}"] if mode != "equal" else []
    words += [f"{key}={next(iter(merged))}" for key in open_choices(parents[base], merged, mode)]
    if base in merged:  # two checkpoints, of which none may be the base
        say = (
            "linear, slerp, nuslerp and karcher do not use the base; for other methods set base= to the origin of both:"
        )
        return [*lines, say, _line("linear", words)]
    if len(merged) == 1:
        say = f"{base} is taken as the base of one specialist; a merge needs two, this line scales its update by a half"
        return [*lines, say, _line("task_arithmetic", ["merge.weight=0.5", *words])]
    why = "lies nearest to all others" if len(parents) > 2 else "comes first"
    return [*lines, f"{base} is taken as the base, because it {why}; check its dry run first:", _line("ties", words)]


def _line(method: str, words: Sequence[str]) -> str:
    return " ".join(["python merge.py", f"merge={method}", *map(quoted_override, words), "dry_run=true"])


def _base(parents: Mapping[str, Parent], fits: Mapping[tuple[str, str], Fit]) -> str:
    """The full checkpoint nearest to those that fit it: specialists move away from their base, each its own way."""
    full = [label for label, parent in parents.items() if not parent.computed]

    def nearness(label: str) -> float:
        return sum(fit.likeness or 0.0 for pair, fit in fits.items() if label in pair and fit.mode is not None)

    return max(full, key=nearness) if len(parents) > 2 else full[0]
