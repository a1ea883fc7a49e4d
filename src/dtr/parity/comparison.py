"""One number beside its tolerance, and the table of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Comparison:
    """The largest absolute `difference` of a quantity, NaN or infinite when the two cannot be compared, and its `tolerance`."""

    quantity: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Within the tolerance; NaN is not."""
        return self.difference <= self.tolerance


def difference(quantity: str, ours: Tensor, reference: Tensor, tolerance: float) -> Comparison:
    """The comparison of two tensors; another shape is an infinite difference."""
    if ours.shape != reference.shape:
        return Comparison(quantity, float("inf"), tolerance, f"shape {tuple(ours.shape)}, reference {tuple(reference.shape)}")
    apart = (ours.detach().double() - reference.double()).abs()
    return Comparison(quantity, float(apart.max()) if apart.numel() else 0.0, tolerance)


@dataclass(frozen=True)
class Report:
    """All comparisons of one golden folder."""

    folder: Path
    policy: str
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Something was compared and nothing is off."""
        return bool(self.comparisons) and all(c.passed for c in self.comparisons)

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """What is off."""
        return tuple(c for c in self.comparisons if not c.passed)

    def __str__(self) -> str:
        width = max([len("quantity"), *(len(c.quantity) for c in self.comparisons)])
        lines = [f"{self.policy} against {self.folder}", f"{'quantity':<{width}}  max |diff|  tolerance"]
        for c in self.comparisons:
            verdict = "" if c.passed else "  FAIL" + (f" ({c.note})" if c.note else "")
            lines.append(f"{c.quantity:<{width}}  {c.difference:10.2e}  {c.tolerance:9.0e}{verdict}")
        off = f": {len(self.failures)} of {len(self.comparisons)} quantities are off" if self.comparisons else ": nothing to compare"
        return "\n".join([*lines, "PASS" if self.passed else f"FAIL{off}"])
