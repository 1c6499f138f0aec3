"""How many retries there may be, as the operator says in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PERCENT = "RETRY_BUDGET_PERCENT"
PER_SECOND = "RETRY_BUDGET_PER_SECOND"


@dataclass(frozen=True, slots=True)
class Limits:
    """Retries per call (`share`, 0 to 1), and how many each second has whatever the calls are (`floor`)."""

    share: float = 0.2
    floor: float = 3.0

    def allowance(self, calls: int, seconds: float) -> float:
        """The retries that `calls` within `seconds` may have."""
        return self.share * calls + self.floor * seconds


def read_limits(environ: Mapping[str, str]) -> Limits:
    """Raises ValueError, which stops the start, with the variable, its value and what is allowed."""
    default = Limits()
    return Limits(
        share=_read(environ, PERCENT, default.share * 100, 100) / 100,
        floor=_read(environ, PER_SECOND, default.floor, 1000),
    )


def _read(environ: Mapping[str, str], name: str, default: float, most: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:  # nan is not
        raise ValueError(f"{name} must be a number from 0 up to {most:g}, got {text!r}")
    return value
