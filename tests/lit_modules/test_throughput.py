from __future__ import annotations

import numpy as np
import pytest
import torch

from src.lit_modules.callbacks import throughput
from src.lit_modules.callbacks.throughput import peak_memory, reset_peak_memory

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.skipif(not throughput.RESET.exists(), reason="the peak of the memory can be reset on Linux alone")
def test_the_peak_begins_anew_and_is_that_of_this_process() -> None:
    """A sweep's second run must not begin at the peak of its first."""
    large = np.ones(600 * MIB, dtype=np.uint8)
    peak = peak_memory(CPU)
    del large
    reset_peak_memory(CPU)
    low = peak_memory(CPU)
    assert peak - low > 400 * MIB
    again = np.ones(300 * MIB, dtype=np.uint8)  # far above what other tests of this process may free meanwhile
    assert 100 * MIB < peak_memory(CPU) - low < 400 * MIB
    del again


def test_the_peak_of_a_run_on_the_processor_is_not_that_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 1)
    assert peak_memory(CPU) > MIB
    assert peak_memory(torch.device("cuda", 0)) == 1
