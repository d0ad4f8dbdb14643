import dataclasses
import re

import pytest

from src.evaluation.statistics.bootstrap import Difference
from src.evaluation.statistics.power import Power
from src.evaluation.statistics.verdict import Variation, Without
from src.reporting.verdict_sentences import (
    checkpoint_sentence,
    choice_sentence,
    left_out_sentence,
    power_sentence,
    variation_sentence,
    verdict_lines,
    verdict_record,
    verdict_sentence,
    without_sentence,
)
from tests.reporting.example import study

REPORT = study()
VERDICT = REPORT.verdict


def changed(**changes):
    return dataclasses.replace(VERDICT, **changes)


def test_verdict_of_the_example():
    assert re.fullmatch(
        r"Mix the data\. Mixing keeps 98\.3% of what one specialist per task reaches; the best merge \(Linear 0\.4\) "
        r"keeps 72\.1%\. The difference is \+26\.27 points \(95% interval \+\d\d\.\d\d to \+\d\d\.\d\d over 80 "
        r"problems, for this training run; p = 0\.0\d+\)\. In the scores themselves it is \+22\.95 points \(95% "
        r"interval \+\d\d\.\d\d to \+\d\d\.\d\d\)\.",
        verdict_sentence(VERDICT, REPORT.models),
    )


@pytest.mark.parametrize(
    ("outcome", "head", "checkpoint"),
    [
        ("mix", "Mix the data.", "Take runs/train/pocket-mix (the data mixture)."),
        ("merge", "Merge the specialists, with Linear 0.4.", "Take runs/merge/pocket-linear-w0.4 (Linear 0.4)."),
        ("equivalent", "Mixing and merging are equivalent: they differ by less than 2 points.", "Take either"),
        ("undecided", "Undecided: the test data do not separate mixing from merging.", "The candidates are"),
    ],
)
def test_every_outcome_has_its_words_and_checkpoint(outcome, head, checkpoint):
    found = changed(outcome=outcome, equivalence=(-0.011, 0.013))
    said = verdict_sentence(found, REPORT.models)
    assert said.startswith(head)
    assert checkpoint_sentence(found, REPORT.sides).startswith(checkpoint)
    assert ("The 90% interval, −1.10 to +1.30, lies within 2 points of 0" in said) == (outcome == "equivalent")
    assert ("in 80% of the cases" in said) == (outcome == "undecided")


def test_without_anything_to_compare_there_is_one_line():
    lines = verdict_lines(study(verdict=changed(comparable=False)))
    assert len(lines) == 1
    assert lines[0].startswith("No verdict: the specialists score 0 on every metric")


def test_what_would_decide():
    runs = Variation(0.03, "training seed", (0.01, 0.02, 0.03), 0.02)
    found = changed(power=Power(0.052, 3400, 9, equivalent=False), variation=runs)
    assert power_sentence(found) == (
        "A study of this size finds a difference of 5.20 points in 80% of the cases. If the true difference is the one "
        "seen here, 3,400 problems instead of 80 or 9 training seeds instead of 3 would show a difference as often."
    )
    assert "would show equivalence as often" in power_sentence(changed(power=Power(0.05, 900, None, equivalent=True)))
    nothing = changed(power=Power(0.05, None, None, equivalent=False))
    assert power_sentence(nothing).endswith("more problems alone would not decide.")


def test_problems_and_seeds_are_apart():
    assert "study.seeds=[0,1,2] shows it" in variation_sentence(VERDICT)
    runs = Variation(0.03, "training seed", (0.01, 0.02, -0.03), 0.02)
    assert variation_sentence(changed(variation=runs, training_seeds=3)) == (
        "Over 3 training seeds the difference is +1.00, +2.00 and −3.00 points: beyond what problems explain, a "
        "standard deviation of 2.00 points. The choice of problems gives the difference a standard error of 3.00 "
        "points."
    )
    masks = dataclasses.replace(runs, runs="mask seed")
    assert variation_sentence(changed(variation=masks)).endswith("training seed is unknown, since there is one.")
    assert "80 problems and 3 training seeds;" in verdict_sentence(changed(training_seeds=3), REPORT.models)


def test_a_metric_that_decides_alone_is_named():
    assert without_sentence(VERDICT).startswith("No single metric decides")
    gap = Difference(80, 0.012, -0.004, 0.028, 0.2)
    found = changed(without=(Without(("codexglue", "bleu4_paper"), "undecided", gap), VERDICT.without[0]))
    assert without_sentence(found) == (
        "The verdict hangs on single metrics: without BLEU-4 on CodeXGLUE it would be undecided (+1.20 points, −0.40 "
        "to +2.80)."
    )


def test_optimism_of_a_choice():
    mixture, merge = REPORT.sides
    assert choice_sentence(mixture) == ""  # one candidate
    found = dataclasses.replace(merge, validation=-0.25, test=-0.28)
    assert choice_sentence(found) == (
        "Linear 0.4 was chosen among 36 on validation data, where its average was −25.00%; on test data it is −28.00% "
        "(+3.00 points of optimism, choice and other problems together)."
    )


def test_what_is_left_out_is_named_by_its_labels():
    assert left_out_sentence(()) == ""
    assert left_out_sentence((("humaneval", "pass@1+"), ("codexglue", "bleu4_paper"))) == (
        "Left out of the average, because the specialist itself scores 0: pass@1+ on HumanEval and BLEU-4 on CodeXGLUE."
    )


def test_the_record_holds_lines_and_numbers():
    found = verdict_record(REPORT)
    assert found["verdict"] == "\n".join(verdict_lines(REPORT))
    assert found["difference"]["low"] == VERDICT.difference.low
    assert (found["outcome"], found["merge"]["method"], found["sides"][1]["candidates"]) == ("mix", "linear", 36)
