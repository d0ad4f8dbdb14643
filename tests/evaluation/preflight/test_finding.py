import pytest

from src.evaluation.preflight.finding import Finding, by_severity, refuse
from src.utils.errors import UserError

SERIOUS = Finding("base", "serious", "mix: a; ties: b", "The start decides.", "base=DIR")
NOTE = Finding("merge.weight", "note", "1.5", "Fine.", "merge.weight=0.5")


def test_serious_findings_come_first_and_once():
    assert by_severity([NOTE, SERIOUS, NOTE]) == [SERIOUS, NOTE]


def test_strict_refuses_all_but_notes():
    refuse([NOTE])
    with pytest.raises(
        UserError, match=r"preflight=strict refuses.*base: mix: a; ties: b\. .*base=DIR\. preflight=warn"
    ):
        refuse([NOTE, SERIOUS])
