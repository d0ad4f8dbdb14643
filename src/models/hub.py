"""Resolve a Hugging Face name to a local directory."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from src.utils.errors import UserError

TOKENIZER_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py", "LICENSE*", "NOTICE*", "README.md")
FILES = (*TOKENIZER_FILES, "*.safetensors")
PICKLES = ("pytorch_model*.bin", "adapter_model.bin")


def local_directory(
    path: str,
    key: str,
    revision: str | None = None,
    ways_out: str = "",
    *,
    weights: bool = True,
    allow_pickle: bool = False,
) -> Path:
    """Resolve a path or Hugging Face name to a directory; a name is looked up in the cache, then downloaded.

    Args:
        path: A directory, or a name such as `Qwen/Qwen2.5-Coder-7B-Instruct`.
        key: Config key that `path` comes from.
        revision: Branch, tag or commit of a name.
        ways_out: Further advice for the error message.
        weights: Whether the weights are needed too, or only tokenizer and configs.
        allow_pickle: Whether to take pickled weights if there are no others.

    Raises:
        UserError: No such directory, or the name is neither in the cache nor on the Hub; the message says how to fix
            it.
    """
    if Path(path).is_dir():
        return Path(path)
    if not is_hub_name(path):
        raise UserError(f"{key}={path}: no such directory; a checkpoint is a Hugging Face directory")
    patterns = [*(FILES if weights else TOKENIZER_FILES), *(PICKLES if weights and allow_pickle else ())]
    try:
        found = Path(snapshot_download(path, revision=revision, allow_patterns=patterns, local_files_only=True))
    except LocalEntryNotFoundError:
        return _download(path, key, revision, patterns, ways_out)
    if weights and not any(file for end in ("*.safetensors", "*.bin") for file in found.glob(end)):
        return _download(path, key, revision, patterns, ways_out)  # only its tokenizer was asked for before
    return found


def is_hub_name(path: str) -> bool:
    """Return true if a path can only be meant as `owner/name`."""
    return path.count("/") == 1 and not path.startswith(("/", ".", "~"))


def _download(name: str, key: str, revision: str | None, patterns: list[str], ways_out: str) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        option = f" --revision {revision}" if revision else ""
        raise UserError(
            f"{key}={name} is not in the local Hugging Face cache and cannot be downloaded ({reason}). "
            f"With a network connection, run: hf download {name}{option}; otherwise set {key}=DIR{ways_out}"
        ) from error
