"""Choice of the attention backend, and its error message if it is missing."""

from __future__ import annotations

import pytest

from src.models import apply_kernels, choose_attention, decoder_layers
from src.models.attention import BACKENDS, Backend
from src.utils.errors import UserError
from tests.lit_modules import tiny


def with_installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name, backend in list(BACKENDS.items()):
        changed = Backend(**{**vars(backend), "installed": lambda name=name: name in names})
        monkeypatch.setitem(BACKENDS, name, changed)


@pytest.mark.parametrize(
    ("installed", "gpu", "packed", "half", "expected"),
    [
        (("flash_attention_3", "flash_attention_2", "varlen", "sdpa"), True, True, True, "flash_attention_3"),
        (("flash_attention_2", "varlen", "sdpa"), True, True, True, "flash_attention_2"),
        (("varlen", "sdpa"), True, True, True, "mixmerge_varlen"),
        (("varlen", "sdpa"), True, False, True, "sdpa"),  # it pays only where documents are packed
        (("flash_attention_3", "varlen", "sdpa"), True, True, False, "sdpa"),  # no float32 kernels
        (("flash_attention_3", "varlen", "sdpa"), False, True, True, "mixmerge_varlen"),
        (("sdpa",), False, True, True, "sdpa"),
    ],
)
def test_auto_takes_the_fastest_there_is(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], gpu: bool, packed: bool, half: bool, expected: str
) -> None:
    with_installed(monkeypatch, *installed)
    assert choose_attention("auto", packed=packed, half=half, gpu=gpu) == expected


def test_named_ones() -> None:
    assert choose_attention("eager", gpu=False) == "eager"
    assert choose_attention("flex", gpu=True) == "flex_attention"
    assert choose_attention("varlen", gpu=False) == "mixmerge_varlen"


def test_missing_ones_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with_installed(monkeypatch, "sdpa")
    with pytest.raises(UserError, match=r"model.attention=flash_attention_2 is not installed: pip install flash-attn"):
        choose_attention("flash_attention_2", gpu=True)
    for name in ("flash_attention_3", "flex"):
        with pytest.raises(UserError, match=rf"model.attention={name} needs a CUDA GPU"):
            choose_attention(name, gpu=False)
    with pytest.raises(UserError, match=r"unknown model.attention 'flash_attention', did you mean 'flash_attention_"):
        choose_attention("flash_attention")
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"model.attention=varlen supports half precision only.*bf16-mixed"):
        choose_attention("varlen", gpu=True, half=False)


def test_layers_and_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    assert len(decoder_layers(network)) == 2
    assert apply_kernels(network, gpu=False) == []
    with pytest.raises(UserError, match=r"model.liger=true: liger-kernel is not installed: pip install"):
        apply_kernels(network, gpu=False, liger=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"model.liger=true needs a CUDA GPU"):
        apply_kernels(network, gpu=False, liger=True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # a machine with a GPU, and a run on its CPU
    assert apply_kernels(network, gpu=False) == []


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compiled_layers_are_compiled_in_place() -> None:
    network = tiny.network()
    names = list(network.state_dict())
    assert apply_kernels(network, gpu=False, compiled=True) == ["torch.compile"]
    assert all(layer._compiled_call_impl is not None for layer in decoder_layers(network))
    assert list(network.state_dict()) == names
