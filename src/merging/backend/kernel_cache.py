"""Compiled kernels on disk: kept in the user's cache by the content of their source, for all checkouts of it.

numba keeps them beside the source instead, one copy per checkout, and does not notice a change in another file whose
functions they call.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import caching, config

from src.utils.files import user_cache

SOURCES = sorted(Path(__file__).parent.glob("numba_*.py"))


class SharedCache(caching._CacheLocator):
    """Place in which numba finds the kernels of this package; `NUMBA_CACHE_DIR` takes precedence."""

    def __init__(self, function: Any) -> None:
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Any, file: str) -> SharedCache | None:
        """Locator of a kernel; None for any other function, and where the cache cannot be written."""
        if config.CACHE_DIR or Path(file) not in SOURCES:  # type: ignore[attr-defined]
            return None
        locator = cls(function)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator

    def get_cache_path(self) -> str:
        """Directory of the compiled functions."""
        return str(user_cache("kernels") / _content())

    def get_source_stamp(self) -> str:
        """The same for equal sources: the directory already tells them apart."""
        return _content()

    def get_disambiguator(self) -> str:
        """Functions of a file differ by their line."""
        return str(self._line)


@cache
def _content() -> str:
    versions = f"{numba.__version__} {llvmlite.__version__}"
    return sha256(b"\0".join([versions.encode(), *(path.read_bytes() for path in SOURCES)])).hexdigest()[:16]


def install() -> None:
    """Let numba ask `SharedCache` first."""
    locators: list[Any] = caching.CacheImpl._locator_classes
    if SharedCache not in locators:
        locators.insert(0, SharedCache)
