"""Identity of a model behind an OpenAI-compatible server, as far as the server tells it, and its errors as one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, OpenAI

from src.checkpoints.fingerprint import weights_fingerprint
from src.utils.errors import UserError, unknown_choice

KEY = "OPENAI_API_KEY"
VERSIONS = (  # where servers tell their version: path, field, server
    ("/version", "version", "vllm"),
    ("/api/version", "version", "ollama"),
    ("/get_server_info", "version", "sglang"),
    ("/props", "build_info", "llama.cpp"),
)
PROBE = 10.0  # seconds
RETRIES = 2  # of the list of models
LONGEST = 300  # characters of a server's message


def api_key() -> str:
    """Read the key from the environment; servers without a key take any."""
    return os.environ.get(KEY) or "none"


def served_model(base_url: str, model: str) -> dict[str, Any]:
    """Ask a server what it serves under a name.

    Args:
        base_url: `http://HOST:PORT/v1`.
        model: A name that it lists.

    Returns:
        `server` (name and version; None if it does not tell), `root` (the model's path or id, as vLLM and SGLang tell
        it), and `weights`, the hash of that path's weights if it is a checkpoint on this machine.

    Raises:
        UserError: There is no such server, it refuses the key, or it has no such model.
    """
    try:
        with OpenAI(base_url=base_url, api_key=api_key(), timeout=PROBE, max_retries=RETRIES) as client:
            listed = {entry.id: entry for entry in client.models.list()}
    except APIError as error:
        raise explained(error, base_url) from error
    if model not in listed:
        raise unknown_choice("generator.model", model, list(listed))
    root = (listed[model].model_extra or {}).get("root")
    place = Path(root) if isinstance(root, str) else None
    return {
        "server": _version(base_url.rstrip("/").removesuffix("/v1")),
        "root": root,
        "weights": weights_fingerprint(place) if place and (place / "config.json").is_file() else None,
    }


def explained(error: APIError, base_url: str, item: str = "") -> UserError:
    """Say in one line what a failed request means, with the key to change; never with the server's words on a key.

    Args:
        error: From the client, after its retries.
        base_url: Of the server.
        item: Id of the prompt, if it was one.
    """
    asked = f" to {item}" if item else ""
    if isinstance(error, APITimeoutError):
        return UserError(
            f"{base_url}: no answer{asked} in time, after all retries; raise generator.timeout or .retries"
        )
    if isinstance(error, APIConnectionError):
        return UserError(f"{base_url}: no connection; expected a running server at generator.base_url ({error})")
    if not isinstance(error, APIStatusError):
        return UserError(f"{base_url}: expected an answer in OpenAI's protocol ({_line(error.message)})")
    if error.status_code in (401, 403):
        return UserError(f"{base_url} refuses the key ({error.status_code}); set {KEY} in the environment")
    if error.status_code == 404:
        return UserError(
            f"{base_url}: not found (404); expected generator.base_url=http://HOST:PORT/v1 and a generator.model that "
            f"the server has ({_line(error.message)})"
        )
    return UserError(f"{base_url}: no answer{asked} ({error.status_code}: {_line(error.message)})")


def _line(message: str) -> str:
    return " ".join(message.split())[:LONGEST]


def _version(root: str) -> str | None:
    for path, field, server in VERSIONS:
        try:
            with urlopen(root + path, timeout=PROBE) as response:  # without the key
                found = json.load(response)
        except (URLError, OSError, ValueError):
            continue
        if isinstance(found, dict) and field in found:
            return f"{server} {found[field]}"
    return None
