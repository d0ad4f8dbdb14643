"""A finding: a difference between models, besides what is compared, that can decide the comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from src.utils.errors import UserError, first_differences

Severity = Literal["serious", "caution", "note"]
SEVERITIES: tuple[Severity, ...] = ("serious", "caution", "note")


@dataclass(frozen=True)
class Finding:
    """One confound.

    Attributes:
        kind: A word for tables, e.g. `learning rate`.
        severity: `serious`: the scores do not answer the question; `caution`: it can move the answer; `note`: worth
            knowing.
        found: The values, each with its owner.
        effect: What it can do to the answer.
        key: What to change, as typed.
    """

    kind: str
    severity: Severity
    found: str
    effect: str
    key: str

    @property
    def sentence(self) -> str:
        """All of it but the severity, for terminals and reports."""
        return f"{self.kind}: {self.found}. {self.effect} To change it: {self.key}."

    def row(self) -> dict[str, str]:
        """Return it for `run.json`."""
        return {name: str(value) for name, value in asdict(self).items()}


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings, the serious ones first, and drop repetitions."""
    return sorted(dict.fromkeys(findings), key=lambda finding: SEVERITIES.index(finding.severity))


def refuse(findings: Iterable[Finding]) -> None:
    """Refuse a comparison with findings above `note`, as `preflight=strict` asks.

    Raises:
        UserError: There are some; they are listed.
    """
    found = [finding.sentence.rstrip(".") for finding in by_severity(findings) if finding.severity != "note"]
    if found:
        raise UserError(
            first_differences("preflight=strict refuses this comparison", found, limit=20)
            + ". preflight=warn compares all the same"
        )
