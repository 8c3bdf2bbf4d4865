"""What a study holds, for people who work in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from blocks.errors import QueryError, law
from nas.analysis.compared import Question, Seeds, ask
from nas.analysis.fronts import direction_of
from nas.store import Store
from nas.store.columns import FLAT, canonical

if TYPE_CHECKING:
    import pandas as pd


class Study:
    """The results of one study.

    Args:
        name: of the study.
        store: a path or an SQLAlchemy URL; by default `NAS_STORE`, or nas.db in this folder.
        interrupted: the sweep that made it was stopped by a person or a scheduler.
        preempted: it was a scheduler, by SIGTERM: there is no time for more than a message.
        ending: why that sweep ended before its trials were used up, where it did.

    Raises:
        StoreError: there is no such store.
        QueryError: it has no such study.
    """

    def __init__(
        self,
        name: str,
        store: str | None = None,
        *,
        interrupted: bool = False,
        preempted: bool = False,
        ending: str = "",
    ) -> None:
        self.name = name
        self.interrupted = interrupted
        self.preempted = preempted
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

    def front(
        self,
        *,
        x: str | None = None,
        y: str | None = None,
        objectives: Mapping[str, str] | None = None,
        where: str | None = None,
        under: Mapping[str, float] | None = None,
        early: bool = False,
        seeds: Seeds = "all",
    ) -> pd.DataFrame:
        """The final results that no other dominates, cheapest first; by default on the study's own objectives.

        Args:
            x: a column to be compared, e.g. `params`.
            y: another one, e.g. `miou`.
            objectives: column -> `max` or `min`, in place of `x` and `y`; `iou.3` is the IoU of the fourth class.
            where: a condition.
            under: column -> the greatest value allowed.
            early: take trials that were stopped, go on or have fewer epochs than is usual in the study, too.
            seeds: `all` trials, or the `mean` of those that differ in the seed alone, with `<objective>_sd` and `n`.

        Raises:
            QueryError: the condition or an objective makes no sense.
        """
        import pandas as pd

        axes = {name: str(direction_of(name)) for name in (y, x) if name is not None}
        goals = {canonical(name): direction for name, direction in (objectives or axes or self.objectives).items()}
        question = Question(
            studies=(self._row["id"],), objectives=goals, where=where, under=under or {}, early=early, seeds=seeds
        )
        return pd.DataFrame(ask(self._store, question, FLAT).front)

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
