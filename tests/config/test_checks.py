import pytest
from omegaconf import OmegaConf

from src.config.checks import check_merge
from src.utils.errors import UserError

USUAL = {"verify": None, "verify_all": False, "search": None, "dry_run": False, "recipe": None, "adapter": None}


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("dry_run", True, r"dry_run=true .*leave out search="),
        ("recipe", "x.yml", r"recipe= .*search="),
        ("adapter", 16, r"search= .*adapter="),
    ],
)
def test_keys_that_a_search_does_not_take(key, value, match):
    check_merge(OmegaConf.create({**USUAL, key: value}))
    with pytest.raises(UserError, match=match):
        check_merge(OmegaConf.create({**USUAL, "search": {}, key: value}))
