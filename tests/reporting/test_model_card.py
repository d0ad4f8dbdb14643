from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from src.reporting.model_card import CardParent, MergeFacts, joint_license, merge_card, read_license

PARENTS = (
    CardParent("base", "org/base", "a" * 40, "apache-2.0", "", "1" * 64),
    CardParent("codegen", "org/coder", "b" * 40, "mit", "0.3", "2" * 64),
    CardParent("codesum", "summarizer", None, "apache-2.0", "0.7", "3" * 64),
)
ROW = {"benchmark": "humaneval", "metric": "pass@1", "split": "test", "value": 0.5, "low": 0.4, "high": 0.6, "n": 164}


def card(**changes: object) -> ModelCard:
    facts = {
        "title": "ours",
        "place": "org/ours",
        "library": "transformers",
        "method": "ties",
        "description": "Trim",
        "arxiv": "2306.01708",
        "engine": "own",
        "parents": PARENTS,
        "keys": {"density": 0.5},
        "command": "python merge.py merge=ties",
    }
    return ModelCard(merge_card(MergeFacts(**(facts | changes))))  # type: ignore[arg-type]


def test_the_front_matter_is_what_the_hub_reads() -> None:
    data = card().data.to_dict()
    assert data == {
        "base_model": ["org/base", "org/coder"],  # names of the Hub alone
        "license": "apache-2.0",
        "library_name": "transformers",
        "tags": ["merge", "mixmerge", "ties"],
    }
    assert "mergekit" in card(engine="mergekit").data.tags


def test_the_text() -> None:
    text = card().text
    assert "| codesum | summarizer |  | apache-2.0 | 0.7 | 3333333333333333 |" in text
    assert f"| base | [org/base](https://huggingface.co/org/base) | {'a' * 40} | apache-2.0 |" in text
    assert "https://arxiv.org/abs/2306.01708" in text
    assert 'AutoModelForCausalLM.from_pretrained("org/ours"' in text
    assert "Not evaluated" in text
    assert "AutoPeftModelForCausalLM" in card(library="peft").text


def test_scores_are_in_the_text_and_in_the_front_matter() -> None:
    found = card(scores=(ROW,))
    assert "| humaneval | pass@1 | test | 50.00 | 40.00 to 60.00 | 164 |" in found.text
    [result] = found.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value, result.dataset_split) == (
        "humaneval",
        "pass@1",
        0.5,
        "test",
    )


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["mit", "apache-2.0", "mit"], "apache-2.0"),
        (["gpl-3.0", "apache-2.0"], "gpl-3.0"),
        (["llama3", "llama3"], "llama3"),
        (["llama3", "mit"], None),
        (["mit", None], None),
        ([None, None], None),
    ],
)
def test_the_license_is_the_strictest_or_unknown(licenses: list[str | None], expected: str | None) -> None:
    assert joint_license(licenses) == expected
    parents = tuple(CardParent(f"p{i}", "x", None, one, "", "0") for i, one in enumerate(licenses))
    found = card(parents=parents)
    special = expected == "llama3"
    assert found.data.get("license") == ("other" if special else expected)
    assert found.data.get("license_name") == (expected if special else None)
    assert ("License: unknown" in found.text) is (expected is None)


def test_the_license_of_a_directory(tmp_path: Path) -> None:
    assert read_license(tmp_path) is None
    for text, expected in {
        "---\nlicense: mit\n---\n# A": "mit",
        "---\nlicense: other\nlicense_name: qwen\n---\n": "qwen",
        "# no front matter": None,
        "---\n: {]\n---\n": None,
    }.items():
        (tmp_path / "README.md").write_text(text)
        assert read_license(tmp_path) == expected, text
