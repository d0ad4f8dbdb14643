"""What a `_target_` may call."""

import os
import shutil

import pytest
from omegaconf import OmegaConf

from src.merging.registry import recipe_from
from src.stages.build import build
from src.utils.errors import UserError
from src.utils.targets import require_trusted

FOREIGN = ["os.makedirs", "urllib.request.urlopen", "shutil.rmtree", "builtins.eval", "numpy.save", "hydra.utils.call"]


@pytest.mark.parametrize("target", FOREIGN)
def test_the_standard_library_and_installed_packages_are_refused(target):
    with pytest.raises(UserError, match=rf"callbacks\.mine\._target_={target}.*MIXMERGE_PLUGINS"):
        require_trusted(target, "callbacks.mine._target_")


@pytest.mark.parametrize("target", ["src.merging.registry.ties", "lightning.pytorch.Callback", "torch.nn.GELU"])
def test_our_own_libraries_are_trusted(target):
    require_trusted(target, "x")


def test_a_declared_package_and_own_code_are_trusted(tmp_path, monkeypatch):
    (tmp_path / "own_code_of_a_user.py").write_text("def made(): return 3")
    monkeypatch.syspath_prepend(tmp_path)
    assert build(OmegaConf.create({"_target_": "own_code_of_a_user.made"})) == 3
    monkeypatch.setenv("MIXMERGE_PLUGINS", "pandas,numpy")
    require_trusted("numpy.save", "x")


@pytest.mark.parametrize("target", ["os.makedirs", "src.utils.files.os.makedirs", "torch.os.makedirs"])
def test_nothing_is_called(tmp_path, target):
    node = OmegaConf.create({"a": {"_target_": target, "name": str(tmp_path / "made")}})
    with pytest.raises(UserError, match=r"a\._target_=.*makedirs"):
        build(node.a)
    assert not (tmp_path / "made").exists()
    assert os.makedirs is not shutil.rmtree


def test_a_record_names_no_module_of_the_standard_library():
    with pytest.raises(UserError, match=r"_target_=antigravity\.fly"):
        recipe_from({"_target_": "antigravity.fly"})


@pytest.mark.parametrize("target", ["no_such_module.f", "..", "", "src.utils.files.absent", "None"])
def test_a_target_that_cannot_be_imported_is_one_line(target):
    with pytest.raises(UserError, match=r"a\._target_="):
        build(OmegaConf.create({"a": {"_target_": target}}).a)
