"""Adapters on parameters instead of modules (PEFT's `target_parameters`): which parameter, and how it is stored.

PEFT wraps a module once per parameter and names the wrappers `module`, `module.base_layer`, ...: the file does not
say which wrapper adapts which parameter. They are nested in the order in which the class declares its parameters, the
first innermost. Stacked experts are (E, out, in), or (E, in, out) where the class says `is_transposed`; PEFT before
0.19.1 took all of them for the latter, which the shapes tell apart unless they are square.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.checkpoints.model_class import ClassParameter, class_parameters
from src.utils.errors import UserError

WRAPPER = ".base_layer"
SWAPPED_SINCE = (0, 19, 1)


@dataclass(frozen=True)
class Layout:
    """The tensor that two factors adapt, and how they store its update.

    Args:
        name: Of the tensor, as the class names it.
        shape: Of the tensor.
        flipped: See `lora_factors.unpack`.
        experts: Number of stacked experts; None for a matrix.
    """

    name: str
    shape: tuple[int, ...]
    flipped: bool
    experts: int | None = None


def adapted_parameters(
    path: Path, config: Mapping[str, Any], module: str, targets: Sequence[str], wrappers: int
) -> list[ClassParameter]:
    """Parameters of a module that an adapter changes, the outermost wrapper's first; none if it changes the module.

    Args:
        path: Adapter directory, for messages.
        config: `config.json` of the base.
        module: As the class names it.
        targets: `target_parameters` of the adapter.
        wrappers: Number of wrappers around the module.

    Raises:
        UserError: The model class is unknown here, or the module has more or fewer such parameters than wrappers.
    """
    found = _declared(path, config, module, targets)
    if found and len(found) != wrappers:
        raise UserError(
            f"{path} adapts {wrappers} parameters of {module}, but its target_parameters name {len(found)} there: "
            f"{', '.join(one.name for one in found)}"
        )
    return found[::-1]


@dataclass(frozen=True)
class Wrapper:
    """The wrapper that PEFT puts around a module for one of its parameters.

    Args:
        place: Name of its factors, without `.lora_A.weight`.
        flipped: Layout that the current version of PEFT expects, see `lora_factors.unpack`.
    """

    place: str
    flipped: bool


def wrappers_of(config: Mapping[str, Any], parameters: Sequence[str]) -> dict[str, Wrapper]:
    """Wrappers of the parameters of an adapter by their full names, the inverse of `adapted_parameters`.

    Args:
        config: `config.json` of the base.
        parameters: Full names.
    """
    found = {}
    for module in dict.fromkeys(parameter.rpartition(".")[0] for parameter in parameters):
        declared = [one for one in class_parameters(config, module) or () if f"{module}.{one.name}" in parameters]
        for depth, one in enumerate(reversed(declared)):
            flipped = one.transposed and len(one.shape) == 3
            found[f"{module}.{one.name}"] = Wrapper(module + WRAPPER * depth, flipped)
    return found


def _declared(path: Path, config: Mapping[str, Any], module: str, targets: Sequence[str]) -> list[ClassParameter]:
    """Parameters of a module that the adapter targets, in the order of the class."""
    if not any(_ends(module, target.rpartition(".")[0]) for target in targets):
        return []
    declared = class_parameters(config, module)
    if declared is None:
        raise UserError(
            f"{path} adapts parameters of {module} (target_parameters), and only the model class knows how these are "
            f"stored: transformers has none for model_type={config.get('model_type')!r}; merge the adapter with PEFT "
            "(merge_and_unload) and name the directory that save_pretrained writes"
        )
    return [one for one in declared if any(_ends(f"{module}.{one.name}", target) for target in targets)]


def parameter_layout(
    path: Path, name: str, parameter: ClassParameter, down: tuple[int, ...], up: tuple[int, ...], version: str | None
) -> Layout:
    """Layout of the factors of a parameter.

    Args:
        path: Adapter directory, for messages.
        name: Full name of the parameter.
        parameter: The same in its module.
        down: Shape of `lora_A`.
        up: Shape of `lora_B`.
        version: Of the PEFT that wrote them.

    Raises:
        UserError: The factors do not fit the parameter, or fit it in two ways.
    """
    shape = parameter.shape
    if len(shape) == 2 and (up[0], down[1]) == shape:
        return Layout(name, shape, False)
    if len(shape) == 3 and down[0] % shape[0] == 0 and up[1] == down[0]:
        fitting = [flipped for flipped in (False, True) if (up[0], down[1]) == shape[1:][:: -1 if flipped else 1]]
        if len(fitting) == 1:
            return Layout(name, shape, fitting[0], shape[0])
        if fitting and (parameter.transposed or _numbers(version) >= SWAPPED_SINCE):
            return Layout(name, shape, parameter.transposed, shape[0])
        if fitting:
            raise UserError(
                f"{path}: the experts of {name} are square, and PEFT {version or 'of old'} stored their updates "
                "transposed; merge the adapter with the PEFT that trained it (merge_and_unload) and name the directory "
                "that save_pretrained writes"
            )
    raise UserError(
        f"{path}: the factors of {name} have shapes {list(down)} and {list(up)}, which do not fit {list(shape)}; "
        "is this its base?"
    )


def _ends(name: str, target: str) -> bool:
    return not target or name == target or name.endswith(f".{target}")


def _numbers(version: str | None) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version or "")
    return tuple(map(int, found.groups())) if found else (0,)
