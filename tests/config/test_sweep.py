"""Jobs of a sweep: as composed one by one, with one composition per distinct set of group choices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from src.config.groups import CONF
from src.config.schemas import register_schemas
from src.config.sweep import SweepComposer

PARENTS = ["base=/b", "specialists.codegen=/x", "specialists.codesum=/y"]


class Composer:
    """`SweepComposer` over the merge script, and the compositions that it asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        loader = GlobalHydra.instance().config_loader()
        self.sweep = SweepComposer(self._compose, lambda name: bool(loader.get_group_options(name)))

    def _compose(self, overrides: list[str]) -> DictConfig:
        self.asked.append(overrides)
        return compose("merge", overrides)


@pytest.fixture
def composer() -> Iterator[Composer]:
    register_schemas()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield Composer()


def test_a_grid_is_composed_once_per_method_and_equals_full_compositions(composer: Composer) -> None:
    found = {}
    for method in ("ties", "linear"):
        for weight in (0.1, 0.9):
            overrides = [f"merge={method}", f"merge.weight={weight}", "seed=3", *PARENTS]
            found[method, weight] = composer.sweep(overrides)
    assert composer.asked == [["merge=ties"], ["merge=linear"]]
    assert [cfg.merge.weight for cfg in found.values()] == [0.1, 0.9, 0.1, 0.9]
    for method, weight in (("ties", 0.9), ("linear", 0.1)):
        whole = compose("merge", [f"merge={method}", f"merge.weight={weight}", "seed=3", *PARENTS])
        assert OmegaConf.to_container(found[method, weight]) == OmegaConf.to_container(whole)
        assert OmegaConf.is_struct(found[method, weight])


def test_the_last_of_equal_keys_counts_and_mappings_are_merged_as_in_hydra(composer: Composer) -> None:
    overrides = ["merge.weights={b: 1}", "merge.weights.b=2", "merge.weight=null", "merge.weight=0.2"]
    assert OmegaConf.to_container(composer.sweep(overrides)) == OmegaConf.to_container(compose("merge", overrides))


def test_added_and_removed_keys_are_composed_by_hydra(composer: Composer) -> None:
    overrides = ["+specialists.bugfix=/z", "~merge.normalize", "merge.weight=0.2"]
    cfg = composer.sweep(overrides)
    assert composer.asked == [overrides]
    assert cfg.specialists.bugfix == "/z"
    assert "normalize" not in cfg.merge


@pytest.mark.parametrize("wrong", ["merge.wieght=0.1", "seed=x", "merge@other=ties"])
def test_errors_are_those_of_hydra(composer: Composer, wrong: str) -> None:
    with pytest.raises(ConfigCompositionException) as expected:
        compose("merge", [wrong])
    with pytest.raises(ConfigCompositionException) as found:
        composer.sweep([wrong])
    assert str(found.value) == str(expected.value)
