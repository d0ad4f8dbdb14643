"""The README.md of a study's champions: verdict, scores with intervals, recipe, parents and licenses."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import ModelCard

from src.checkpoints.fingerprint import fingerprint
from src.runs.record import open_run
from src.stages.merge.run import merge
from src.stages.merge.verify import verify
from src.stages.study.cards import write_cards
from tests.stages.merge.test_card import evaluated
from tests.stages.merge.test_parents import job, write_parents

VERDICT = "Mix the data. Mixing keeps 98%.\nTake /home/me/mix (the mixture).\nOne seed only."


def test_both_champions_say_the_verdict_and_can_be_pushed(tmp_path: Path) -> None:
    root = write_parents(tmp_path)
    (root / "base" / "README.md").write_text("---\nlicense: mit\n---\n# The base")
    merged = merge(job(root, "merge.weight=0.3"))
    mixture = root / "runs" / "train" / "mix"
    config = {"strategy": {"name": "mix", "epochs": 2.0, "steps": None}}
    argv = ["python", "train.py", "strategy=mix"]
    inputs = {"base": fingerprint(root / "base")}
    with open_run(mixture, stage="train", config=config, inputs=inputs, argv=argv) as run:
        shutil.copytree(root / "codegen", run.work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md"))
        run.results |= {"parents": {"base": str(root / "base")}, "data": {"codegen": {"sha256": "0", "rows": 1200}}}
    evaluated(root, "mix", fingerprint(mixture), 0.25)
    evaluated(root, "merge", fingerprint(merged), 0.5)
    sides = [{"checkpoint": str(place)} for place in (mixture, merged)]
    before = fingerprint(merged), fingerprint(mixture)
    for _ in range(2):  # the same again, if the study is reported again
        assert len(write_cards("Pocket", {"verdict": VERDICT, "sides": sides})) == 2
    cards = [ModelCard.load(place / "README.md") for place in (mixture, merged)]
    for card, score in zip(cards, (25.0, 50.0), strict=True):
        assert "## Verdict of the study “Pocket”\n\nMix the data. Mixing keeps 98%.\n\nOne seed only." in card.text
        assert "/home/me" not in card.text
        assert f"| humaneval | pass@1 | test | {score:.2f} | 0.00 to 100.00 | 2 |" in card.text
        [result] = card.data.eval_results
        assert (result.dataset_name, result.metric_type, result.metric_value) == ("humaneval", "pass@1", score / 100)
    assert cards[0].data.license == "mit"
    assert "| base | base |" in cards[0].text
    assert "| codegen | 1,200 |" in cards[0].text
    assert '"epochs": 2.0' in cards[0].text
    assert "python train.py strategy=mix" in cards[0].text
    assert verify(merged).holds
    assert (fingerprint(merged), fingerprint(mixture)) == before


def test_an_edited_card_stays(tmp_path: Path) -> None:
    merged = merge(job(write_parents(tmp_path), "merge.weight=0.3"))
    (merged / "README.md").write_text("mine")
    assert write_cards("Pocket", {"verdict": VERDICT, "sides": [{"checkpoint": str(merged)}]}) == []
    assert (merged / "README.md").read_text() == "mine"
