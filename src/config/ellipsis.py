"""`merge.weight=0.1,0.2,...,0.9`: arithmetic sequences on the command line."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from src.utils.errors import UserError

LONGEST = 100_000  # steps
_SEQUENCE = re.compile(r"([^,\[\]=]+),([^,\[\]=]+),\.\.\.,([^,\[\]=]+)")


def expand_ellipsis(argument: str) -> str:
    """Replace every `a,b,...,z` in a command-line argument by the whole sequence.

    Args:
        argument: One override, as typed; anything without `...` comes back unchanged.

    Returns:
        The override with its sequences written out; decimals are exact (0.1, 0.2, 0.3, never 0.30000000000000004).

    Raises:
        UserError: A value is not a number, or the sequence never reaches its end.

    Example:
        >>> expand_ellipsis("merge.weight=0.1,0.2,...,0.5")
        'merge.weight=0.1,0.2,0.3,0.4,0.5'
    """
    if ",...," not in argument:
        return argument
    expanded = _SEQUENCE.sub(lambda match: ",".join(_sequence(argument, *match.groups())), argument)
    if "..." in expanded:
        raise UserError(f"{argument}: `...` needs two numbers before it and one after it, as in 0.1,0.2,...,0.9")
    return expanded


def _sequence(argument: str, first: str, second: str, last: str) -> list[str]:
    try:
        start, after, end = Decimal(first), Decimal(second), Decimal(last)
    except InvalidOperation:
        raise UserError(f"{argument}: `...` needs numbers around it, as in 0.1,0.2,...,0.9") from None
    if not (start.is_finite() and after.is_finite() and end.is_finite()):
        raise UserError(f"{argument}: `...` needs finite numbers around it, as in 0.1,0.2,...,0.9")
    try:
        step = after - start
        steps = (end - start) / step if step else Decimal(0)
        if steps > LONGEST:
            raise UserError(f"{argument}: more than {LONGEST} steps of {step} from {first} to {last}")
        if steps < 1 or (end - start) % step != 0:
            raise UserError(f"{argument}: {first} does not reach {last} in whole steps of {step}")
    except ArithmeticError:  # beyond the range of decimal numbers
        raise UserError(f"{argument}: {last} is out of range") from None
    return [str(start + step * index) for index in range(int(steps) + 1)]
