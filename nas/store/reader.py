"""Reading a store: everything that is asked of it, in one consistent view a question."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from blocks.errors import QueryError, law, nearest
from nas.store import database, evaluations, exports, fronts, lookup, queries, schema
from nas.store.chosen import Choices, chosen
from nas.store.gathered import Gathered
from nas.store.queries import Row


def default_url() -> str:
    """Where results lie unless somebody says otherwise: `NAS_STORE`, or nas.db in this folder."""
    return os.environ.get("NAS_STORE") or "sqlite:///nas.db"


class Reader:
    """Studies, trials and epochs in one database, as they are asked for; a `Store` also writes.

    Args:
        url: a path or an SQLAlchemy URL.
        create: make the tables (and an SQLite file) where there are none; without it, the store must exist.

    Raises:
        StoreError: there is no store at `url`, or it is not one of this version.
    """

    def __init__(self, url: str | Path, *, create: bool = True) -> None:
        self._url = database.parse(str(url))
        self._engine = database.connect(self._url, create=create)

    @classmethod
    def open(cls, url: str | Path | None = None, *, create: bool = True) -> Self:
        """Open the store at `url`, by default at `default_url()`."""
        return cls(url or default_url(), create=create)

    @property
    def url(self) -> str:
        """The SQLAlchemy URL, password included: what another library needs to open the same database."""
        return self._url.render_as_string(hide_password=False)

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Studies

    def study(self, name: str) -> Row | None:
        """One study (id, name, space, objectives, budget, seed, settings, created), or None."""
        with database.reading(self._engine) as connection:
            return queries.study_named(connection, name)

    def find_study(self, name: str) -> Row:
        """One study that must exist.

        Raises:
            QueryError: it does not; the message has the nearest name.
        """
        with database.reading(self._engine) as connection:
            found = queries.study_named(connection, name)
            if found is None:
                names = queries.study_names(connection)
                raise QueryError(law("A study", "a name in this store", {"study": name}, nearest(name, names)))
            return found

    def studies(self) -> list[Row]:
        """One flat row per study: name, trials in all and by state, best mIoU, objectives, seed, created."""
        with database.reading(self._engine) as connection:
            return queries.studies(connection)

    def provenance(self, study_id: int) -> list[Row]:
        """What `record_provenance` noted, oldest first."""
        with database.reading(self._engine) as connection:
            return queries.provenances(connection, study_id)

    # Trials

    def known(self, identity: str, *, degraded: bool = True) -> Row | None:
        """The flat row of a final result with this identity, from any study, or None.

        Args:
            identity: the key of a result.
            degraded: take one whose batch was made smaller for want of memory, too, where there is no other. A search
                may; where effects are measured, it is another treatment.
        """
        with database.reading(self._engine) as connection:
            return queries.final_of(connection, identity, degraded=degraded)

    def next_number(self, study_id: int) -> int:
        """The number that the study's next trial gets; they count from 0."""
        with database.reading(self._engine) as connection:
            return queries.next_number(connection, study_id)

    def unfinished(self, study_id: int, states: Sequence[str] = schema.UNFINISHED) -> list[Row]:
        """What a resumed sweep has to deal with: flat rows with `answers`, `architecture` and `protocol`."""
        with database.reading(self._engine) as connection:
            return queries.open_trials(connection, study_id, states)

    def told(self, study_id: int) -> list[Row]:
        """What the sampler has learnt from, in order of number: flat rows with `answers`."""
        with database.reading(self._engine) as connection:
            return queries.told(connection, study_id)

    def everything(self, study_id: int) -> list[Row]:
        """All trials in order of number: flat rows with `answers`."""
        with database.reading(self._engine) as connection:
            return queries.everything(connection, study_id)

    def trials(
        self,
        study_id: int,
        where: str | None = None,
        *,
        states: Collection[str] | None = None,
        columns: Iterable[str] | None = None,
    ) -> list[Row]:
        """Flat rows in order of number.

        Args:
            study_id: whose.
            where: a condition: see `nas.store.where`.
            states: only trials in these.
            columns: only these columns, by default all.

        Raises:
            QueryError: the condition, a state or a column makes no sense.
        """
        with database.reading(self._engine) as connection:
            return queries.trials(connection, study_id, where=where, states=states, columns=columns)

    def counted(self, study_ids: Collection[int]) -> list[fronts.Count]:
        """How many trials there are by study, state and epochs."""
        with database.reading(self._engine) as connection:
            return fronts.counts(connection, study_ids)

    def points(
        self,
        studies: Mapping[int, int],
        objectives: Mapping[str, str],
        *,
        states: Collection[str] = schema.FINAL,
        where: str | None = None,
        under: Mapping[str, float] | None = None,
        share: float = 1.0,
        beyond: npt.NDArray[np.float64] | None = None,
        identities: bool = False,
    ) -> fronts.Points:
        """The objectives of many trials, as arrays: see `nas.store.fronts`.

        Raises:
            QueryError: the condition or a column makes no sense.
        """
        chosen = fronts.Selection(studies, states, where, under or {})
        with database.reading(self._engine) as connection:
            return fronts.points(connection, chosen, objectives, share=share, beyond=beyond, identities=identities)

    def input_of(self, study_ids: Collection[int]) -> tuple[int, int, int] | None:
        """Height [px], width [px] and classes that the trials' costs are stated for; None where there are no trials."""
        with database.reading(self._engine) as connection:
            return fronts.input_of(connection, study_ids)

    def rows(self, ids: Sequence[int], columns: Iterable[str]) -> list[Row]:
        """Flat rows of these trials, whichever studies they are of, in this order; `iou.3` is a column here, too."""
        with database.reading(self._engine) as connection:
            return fronts.rows(connection, ids, columns)

    def trial(self, study_id: int, number: int) -> Row | None:
        """Everything about one trial, or None: the flat row, and answers, protocol, architecture, traceback, log."""
        with database.reading(self._engine) as connection:
            return queries.trial_numbered(connection, study_id, number)

    def find_trial(self, study_id: int, number: int) -> Row:
        """As `trial`, of one that must exist.

        Raises:
            QueryError: it does not; the message says how many there are.
        """
        with database.reading(self._engine) as connection:
            return lookup.trial_of(connection, study_id, number)

    def epochs(self, trial_id: int) -> list[Row]:
        """The curve of a trial, one row per epoch."""
        with database.reading(self._engine) as connection:
            return queries.epochs(connection, trial_id)

    def evaluations(self, trial_id: int) -> list[Row]:
        """What `record_evaluation` kept, oldest first."""
        with database.reading(self._engine) as connection:
            return evaluations.evaluations(connection, trial_id)

    def trained_as(self, trial_id: int) -> tuple[str, int] | None:
        """The study's name and the trial's number in it, or None where there is no such trial."""
        with database.reading(self._engine) as connection:
            return lookup.trained_as(connection, trial_id)

    def with_choices(self, study_id: int) -> list[Row]:
        """Flat rows in order of number, with a key for each option that some trial has."""
        with database.reading(self._engine) as connection:
            return exports.with_choices(connection, study_id)

    def choices(self, trial_id: int) -> dict[str, str | None]:
        """The options chosen, path -> value as text."""
        with database.reading(self._engine) as connection:
            return queries.choices(connection, trial_id)

    def chosen(self, study_id: int, states: Collection[str]) -> Choices:
        """The options of every trial of a study in these states: its id -> path -> value as text."""
        with database.reading(self._engine) as connection:
            return chosen(connection, study_id, states)

    @contextmanager
    def gathered(self) -> Iterator[Gathered]:
        """Ask about many trials at once."""
        with database.reading(self._engine) as connection:
            yield Gathered(connection)
