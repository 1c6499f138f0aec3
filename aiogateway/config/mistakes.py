"""What is wrong with a config: collected, so that the caller hears of every mistake at once and not one a try."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from aiogateway.errors import ConfigError

MAX_MISTAKES = 50
MAX_TEXT = 10_000
"""Characters of messages, at about which mistakes stop being told: of further ones only their number is."""

_Value = TypeVar("_Value")


class Mistakes:
    """The mistakes found so far, in the order of the text."""

    def __init__(self) -> None:
        self._errors: list[ConfigError] = []
        self._untold = 0
        self._length = 0

    def __len__(self) -> int:
        return len(self._errors) + self._untold

    @property
    def full(self) -> bool:
        """Whether further mistakes are only counted, so that costly messages needn't be made up."""
        return len(self._errors) >= MAX_MISTAKES or self._length >= MAX_TEXT

    def add(self, error: ConfigError) -> None:
        """Takes in one mistake, or all those of a joined error."""
        for one in error.errors or (error,):
            if self.full:
                self._untold += 1
            else:
                self._errors.append(one)
                self._length += len(one.message)

    def note(self, message: str, path: str) -> None:
        """Adds one mistake at `path`."""
        self.add(ConfigError(message, path=path))

    def take(self, reader: Callable[[Any, str], _Value], value: Any, path: str) -> _Value | None:
        """What `reader` makes of `value`; None when it refuses, and then its mistakes are in here."""
        try:
            return reader(value, path)
        except ConfigError as error:
            self.add(error)
            return None

    def join(self) -> ConfigError:
        """One error for all of them (there must be some); the only one itself, when there is just one."""
        if len(self) == 1:
            return self._errors[0]
        errors = list(self._errors)
        if self._untold:
            errors.append(ConfigError(f"and {self._untold} more"))
        return ConfigError(f"{len(self)} mistakes: " + "; ".join(map(str, errors)), errors=tuple(errors))

    def check(self) -> None:
        """Raises ConfigError if there are any."""
        if self._errors:
            raise self.join()


def join_errors(errors: Iterable[ConfigError]) -> ConfigError:
    """One error for all of `errors`, which are some; the only one itself, when there is just one."""
    mistakes = Mistakes()
    for error in errors:
        mistakes.add(error)
    return mistakes.join()
