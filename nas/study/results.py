"""What a study holds, for people who work in Python."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

from blocks.errors import QueryError, law
from nas.analysis.fronts import direction_of, front
from nas.store import Store

if TYPE_CHECKING:
    import pandas as pd


class Study:
    """The results of one study.

    Args:
        name: of the study.
        store: a path or an SQLAlchemy URL; by default `NAS_STORE`, or nas.db in this folder.
        interrupted: the sweep that made it was stopped by a person.
        ending: why that sweep ended before its trials were used up, where it did.

    Raises:
        StoreError: there is no such store.
        QueryError: it has no such study.
    """

    def __init__(self, name: str, store: str | None = None, *, interrupted: bool = False, ending: str = "") -> None:
        self.name = name
        self.interrupted = interrupted
        self.ending = ending
        self._store = Store.open(store, create=False)
        self._row = self._store.find_study(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.close()

    @property
    def url(self) -> str:
        """Where the results lie: what another library needs to open them, password included."""
        return self._store.url

    def __str__(self) -> str:
        return f"{self.name} in {self._store}"

    @property
    def objectives(self) -> dict[str, str]:
        """Name -> `max` or `min`, as the space gave them."""
        return dict(self._row["objectives"])

    def counts(self) -> dict[str, int]:
        """How many trials are in each state that occurs."""
        rows = self._store.trials(self._row["id"], columns=["state"])
        return dict(Counter(row["state"] for row in rows).most_common())

    def origins(self) -> dict[str, int]:
        """How many trials the sampler chose, and how many stand in for known networks that it kept proposing.

        Returns:
            Counts of `sampler`, `grid`, `neighbour` and `random` as far as they occur, and of `repeats`: known networks
            that the sampler proposed and nobody trained again.
        """
        rows = self._store.trials(self._row["id"], columns=["origin", "repeats"])
        return {**Counter(row["origin"] for row in rows), "repeats": sum(row["repeats"] for row in rows)}

    def trials(self, where: str | None = None) -> pd.DataFrame:
        """All trials, one a row.

        Args:
            where: a condition, e.g. `"params < 5e6 and context == 'ppm'"`.

        Raises:
            QueryError: the condition makes no sense.
        """
        import pandas as pd

        return pd.DataFrame(self._store.trials(self._row["id"], where))

    def front(self, *, x: str | None = None, y: str | None = None, where: str | None = None) -> pd.DataFrame:
        """The final results that no other dominates, cheapest first; by default on the study's own objectives.

        Raises:
            QueryError: the condition or an objective makes no sense.
        """
        import pandas as pd

        goals = {name: str(direction_of(name)) for name in (y, x) if name is not None} or self.objectives
        return pd.DataFrame(front(self._store.trials(self._row["id"], where), goals))

    def epochs(self, trial: int) -> pd.DataFrame:
        """The learning curve of one trial, one epoch a row.

        Raises:
            QueryError: there is no such trial.
        """
        import pandas as pd

        row = self._store.trial(self._row["id"], trial)
        if row is None:
            raise QueryError(law("A curve", "a trial of this study", {"trial": trial}, "See Study.trials()"))
        return pd.DataFrame(self._store.epochs(row["id"]))
