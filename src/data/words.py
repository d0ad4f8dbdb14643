"""Words and hashes by which texts are compared, the same in every process."""

from __future__ import annotations

import hashlib
import re

_WORDS = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits."""
    return _WORDS.findall(text.lower())


def hash64(text: str) -> int:
    """Hash to 64 bits, the same in every process, unlike Python's own hash."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
