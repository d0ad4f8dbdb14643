"""Failures of the disk, which say nothing about the input: full, over quota, or broken."""

from __future__ import annotations

import errno
import re

FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_IN_RUST = re.compile(r"\(os error (\d+)\)")  # tokenizers and safetensors raise their own exceptions


def is_disk_failure(error: BaseException) -> bool:
    """True if the same command may succeed once the disk is in order."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FAILURES
    found = _IN_RUST.search(str(error))
    return found is not None and int(found[1]) in FAILURES


def disk_failure_line(error: BaseException) -> str:
    """The line for the user."""
    place = getattr(error, "filename", None)
    reason = getattr(error, "strerror", None) or str(error)
    return f"cannot write{f' {place}' if place else ''}: {reason}; free some space, then resume with the same command"
