"""Where a mistake stands, and all of them together: a file is judged as a whole, never up to its first error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blocks.errors import SpaceError, law

MOST = 50
"""Mistakes printed at once; a file with more is not the file that was meant."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, counted from 1; line 0 stands for a place that has no lines (`--set a.b=c`)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(slots=True)
class Mistakes:
    """Collects what is wrong and raises it in one message, in the order of the file."""

    found: list[tuple[Mark, str]] = field(default_factory=list)

    def add(self, mark: Mark, subject: str, needs: str, got: Mapping[str, object], remedy: str) -> None:
        """Note one mistake, worded by `blocks.errors.law`."""
        self.found.append((mark, law(subject, needs, {k: _shortened(v) for k, v in got.items()}, remedy)))

    def raise_any(self, name: str) -> None:
        """Raise what was found.

        Raises:
            SpaceError: at least one mistake was found; one line each, as `file:line:column: sentence`.
        """
        unique = dict.fromkeys(sorted(self.found, key=lambda f: (f[0].source, f[0].line, f[0].column)))
        if not unique:
            return
        lines = [f"{mark}: {sentence}" for mark, sentence in list(unique)[:MOST]]
        if len(unique) > MOST:
            lines.append(f"... and {len(unique) - MOST} more")
        title = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        raise SpaceError("\n".join([f"{title} in the search space {name}", *lines]))


class _Shortened:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _shortened(value: object) -> object:
    text = repr(value)
    return value if len(text) <= 120 else _Shortened(text[:117] + "...")
