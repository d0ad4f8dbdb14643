"""Import paths that configs and records may name: `_target_` calls what it names, so not everything is allowed."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

from src.utils.errors import UserError

TRUSTED = ("src", "lightning", "torch")
PLUGINS = "MIXMERGE_PLUGINS"  # environment variable: further installed packages, separated by commas


def require_trusted(target: str, named: str) -> None:
    """Require that an import path lies in our code, Lightning, torch, a declared plugin, or the user's own code.

    The user's own code is what lies in a directory that PYTHONPATH adds; the standard library and installed packages,
    from which a foreign YAML file or record could call anything, must be declared.

    Args:
        target: Such as `my_methods.tempered`.
        named: The key or file that names it, for the message.

    Raises:
        UserError: It does not.
    """
    top = target.partition(".")[0]
    if top in (*TRUSTED, *os.environ.get(PLUGINS, "").split(",")):
        return
    if top in sys.stdlib_module_names or top in sys.builtin_module_names or _is_installed(top):
        raise UserError(
            f"{named}={target}: expected a callable of {', '.join(TRUSTED)} or of your own code on PYTHONPATH; an "
            f"installed package must be declared: {PLUGINS}={top}"
        )


def _is_installed(top: str) -> bool:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")]
    return any(Path(place).resolve().is_relative_to(folder) for place in places for folder in installed)
