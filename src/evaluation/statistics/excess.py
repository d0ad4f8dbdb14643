"""A merge's loss above that of its specialists, split exactly into shrinkage and interference.

For task k and coefficients c, with L_k the loss on its rows, base b and task vectors d:

    excess        L_k(b + sum_j c_j d_j) - L_k(b + d_k)
    shrinkage     L_k(b + c_k d_k)       - L_k(b + d_k)
    interference  L_k(b + sum_j c_j d_j) - L_k(b + c_k d_k)

Shrinkage is what the missing part of the task's own update costs, interference what the other tasks' updates add to it.
Either may be negative.
"""

from __future__ import annotations

from dataclasses import dataclass

from src.evaluation.statistics.bootstrap import Interval, mean_interval
from src.evaluation.statistics.losses import RowLosses
from src.utils.errors import UserError


@dataclass(frozen=True)
class ExcessSplit:
    """The excess of one task, in nats per answer token, with intervals over rows.

    Attributes:
        excess: Merge minus specialist; the sum of the other two.
        shrinkage: The task's own update at its coefficient, alone, minus the specialist.
        interference: Merge minus the task's own update at its coefficient, alone.
    """

    excess: Interval
    shrinkage: Interval
    interference: Interval

    @property
    def share(self) -> float | None:
        """Shrinkage as a share of the excess; None if the merge is not worse than the specialist."""
        return self.shrinkage.mean / self.excess.mean if self.excess.mean > 0 else None


def split_excess(specialist: RowLosses, alone: RowLosses, merged: RowLosses) -> ExcessSplit:
    """Split the excess of one task.

    Args:
        specialist: Losses of the task's specialist on its rows.
        alone: Losses of base + c_k d_k on the same rows.
        merged: Losses of the merge on the same rows.

    Raises:
        UserError: The rows differ.
    """
    if not list(specialist.ids) == list(alone.ids) == list(merged.ids):
        raise UserError("the losses of specialist, scaled specialist and merge must be those of the same rows")
    own, scaled, both = specialist.values, alone.values, merged.values
    pairs = {"excess": both - own, "shrinkage": scaled - own, "interference": both - scaled}
    return ExcessSplit(**{name: mean_interval(values.tolist()) for name, values in pairs.items()})
