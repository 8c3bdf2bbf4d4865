"""The one tree of errors: everything a user can cause derives from `NasError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class NasError(Exception):
    """A mistake that the person at the keyboard can mend; anything else that escapes is a bug of ours."""


class BlockError(NasError):
    """A component cannot be built as asked."""


class SpaceError(NasError):
    """A search space file is wrong."""


class DataError(NasError):
    """A data set is missing or not as described.

    Args:
        message: for people.
        problems: every single one, where the message spells out but the first few.
    """

    def __init__(self, message: str, problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)


class RunError(NasError):
    """A sweep cannot start or go on."""


class StoreError(NasError):
    """The results cannot be read or written."""


class QueryError(NasError):
    """A question to the store makes no sense."""


def law(subject: str, needs: str, got: Mapping[str, object], remedy: str) -> str:
    """Word an error the way all of ours are: `<Subject> needs <law>: got <name=value, ...>. <Remedy>.`"""
    found = ", ".join(f"{name}={value!r}" for name, value in got.items())
    end = "" if remedy.endswith(("?", ".")) else "."
    return f"{subject} needs {needs}: got {found}. {remedy}{end}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list them all when none is near."""
    names = sorted(known)
    folded = {n.casefold(): n for n in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"Did you mean {folded[close[0]]!r}?" if close else f"Known: {', '.join(names) or 'none'}."
