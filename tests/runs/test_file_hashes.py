"""A file is read again where it looks changed, and only there."""

import os

import pytest

from src.runs import file_hashes
from src.runs.file_hashes import hash_files


@pytest.fixture
def reads(monkeypatch, tmp_path):
    """Names of the files whose bytes are read; every file is large enough to be remembered."""
    names = []
    original = file_hashes.sha256_file
    monkeypatch.setattr(file_hashes, "sha256_file", lambda path: names.append(path.name) or original(path))
    monkeypatch.setattr(file_hashes, "REMEMBERED_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return names


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "foreign" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"one")
    return path


def digest(path, known=None):
    return hash_files({"weights": path}, known)["weights"].sha256


def test_the_digest_is_sha256(weights, reads):
    assert digest(weights) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


def test_an_unchanged_file_is_read_once_and_nothing_is_written_beside_it(weights, reads):
    assert digest(weights) == digest(weights)
    assert reads == ["model.safetensors"]
    assert [path.name for path in weights.parent.iterdir()] == ["model.safetensors"]


def test_small_files_are_read_every_time(weights, reads, monkeypatch, tmp_path):
    monkeypatch.setattr(file_hashes, "REMEMBERED_BYTES", 4)
    assert digest(weights) == digest(weights)
    assert len(reads) == 2
    assert not (tmp_path / "cache").exists()


def test_a_file_of_another_size_time_or_inode_is_read_again(weights, reads):
    first = digest(weights)
    weights.write_bytes(b"longer")
    assert digest(weights) != first
    weights.write_bytes(b"one")
    kept = weights.stat()
    assert digest(weights) == first
    weights.write_bytes(b"two")
    os.utime(weights, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1))
    assert digest(weights) != first
    twin = weights.with_name("twin")
    twin.write_bytes(b"one")
    kept = weights.stat()
    os.utime(twin, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    os.replace(twin, weights)
    assert digest(weights) == first
    assert len(reads) == 5


def test_what_is_remembered_elsewhere_leaves_no_trace(weights, reads, tmp_path):
    assert hash_files({"weights": weights}, remember=False) == hash_files({"weights": weights}, remember=False)
    assert len(reads) == 2
    assert not (tmp_path / "cache").exists()


def test_known_states_are_believed_where_they_describe_the_file(weights, reads):
    known = hash_files({"weights": weights})
    reads.clear()
    assert digest(weights, known) == known["weights"].sha256
    assert reads == []
    weights.write_bytes(b"other")
    assert digest(weights, known) != known["weights"].sha256


@pytest.mark.parametrize("content", ["", "[1]", '{"sha256": "x"}'])
def test_a_damaged_cache_only_costs_time(weights, reads, tmp_path, content):
    first = digest(weights)
    [entry] = (tmp_path / "cache" / "mixmerge" / "hashes").iterdir()
    entry.write_text(content)
    assert digest(weights) == first
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_only_costs_time(weights, reads, tmp_path):
    (tmp_path / "cache").write_text("a file where a directory should be")
    assert digest(weights) == digest(weights)
    assert len(reads) == 2
