import pytest

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.loss_map import LossMap, PredictedScores
from src.evaluation.statistics.scores import Score
from src.utils.errors import UserError


def test_it_is_linear_between_known_models_and_beyond_them():
    found = LossMap.through([2.0, 1.0, 1.5], [-0.8, 0.0, -0.2])
    assert [found(loss) for loss in (1.0, 1.25, 1.5, 1.75, 2.0)] == pytest.approx([0.0, -0.1, -0.2, -0.5, -0.8])
    assert found(0.5) == pytest.approx(0.2)  # better than the specialist
    assert found(2.1) == pytest.approx(-0.92)
    assert found(9.0) == -1.0  # no score is below 0


def test_known_models_out_of_order_are_pooled():
    """Losses 1, 2, 3 with changes -0.2, 0, -0.8: the first two become their mean."""
    assert LossMap.through([1.0, 2.0, 3.0], [-0.2, 0.0, -0.8]).scores == pytest.approx((-0.1, -0.1, -0.8))
    assert LossMap.through([1.0, 1.0, 3.0], [-0.2, 0.0, -0.8]).scores == pytest.approx((-0.1, -0.8))


def test_one_loss_is_no_map():
    with pytest.raises(UserError, match="two or more different losses"):
        LossMap.through([1.0, 1.0], [0.0, -0.5])


@pytest.fixture
def predicted():
    """Task b's score halves over 1 nat, task a's over 0.1."""
    values = {"base": (0.2, 0.2), "a specialist": (0.4, 0.2), "b specialist": (0.2, 0.4)}
    scores = {name: [[[Score("of a", "1", "x", a), Score("of b", "1", "x", b)]]] for name, (a, b) in values.items()}
    relative = RelativeScores(scores, {"a": "a specialist", "b": "b specialist"}, {"of a": "a", "of b": "b"})
    losses = {
        "base": {"a": 1.1, "b": 3.0}, "a specialist": {"a": 1.0, "b": 3.0}, "b specialist": {"a": 1.1, "b": 2.0},
    }  # fmt: skip
    return PredictedScores.from_known(relative, losses, {"of a": "a", "of b": "b"})


def test_points_are_ranked_by_what_their_losses_cost_each_task(predicted):
    points = {"saves a": {"a": 1.02, "b": 2.8}, "saves b": {"a": 1.09, "b": 2.2}}
    assert predicted.average(points["saves a"]) == pytest.approx((-0.1 - 0.4) / 2)
    assert predicted.average(points["saves b"]) == pytest.approx((-0.45 - 0.1) / 2)
    assert predicted.ranked(points) == ["saves a", "saves b"]  # though its mean loss is the higher one


def test_of_equal_predictions_the_lower_loss_is_first(predicted):
    points = {"worse": {"a": 9.0, "b": 9.0}, "better": {"a": 8.0, "b": 9.0}}
    assert predicted.average(points["worse"]) == predicted.average(points["better"]) == -1.0
    assert predicted.ranked(points) == ["better", "worse"]
