"""Compiled kernels are found again by the content of their source."""

from __future__ import annotations

from pathlib import Path

import pytest
from numba.core import config

from src.merging.backend import kernel_cache, numba_kernels


def locator() -> kernel_cache.SharedCache | None:
    return kernel_cache.SharedCache.from_function(numba_kernels.subtract.py_func, numba_kernels.__file__)


def test_equal_sources_share_a_directory_and_changed_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(config, "CACHE_DIR", "")
    found = []
    for text in ("a = 1", "a = 1", "a = 2"):
        copy = tmp_path / f"{len(found)}" / "numba_x.py"
        copy.parent.mkdir()
        copy.write_text(text)
        monkeypatch.setattr(kernel_cache, "SOURCES", [copy, Path(numba_kernels.__file__)])
        kernel_cache._content.cache_clear()
        one = locator()
        assert one is not None
        found.append(one.get_cache_path())
    kernel_cache._content.cache_clear()
    assert found[0] == found[1] != found[2]
    assert all(path.startswith(str(tmp_path)) for path in found)


def test_numbas_own_places_where_ours_does_not_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert locator() is None
    monkeypatch.setattr(config, "CACHE_DIR", "")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert locator() is None
    assert kernel_cache.SharedCache.from_function(locator, __file__) is None
