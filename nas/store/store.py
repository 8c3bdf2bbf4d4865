"""The store: the driver's memory. Only the driver writes, and every write is a short transaction of its own."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert, update

from blocks.architecture import Architecture
from blocks.errors import QueryError, StoreError, law, nearest
from blocks.options import Value
from nas.store import database, evaluations, exports, fronts, lookup, queries, schema, writes
from nas.store.choices import choice_rows
from nas.store.chosen import Choices, chosen
from nas.store.gathered import Gathered
from nas.store.imports import ImportedTrial, import_trials
from nas.store.queries import Row
from runners.protocol import Epoch, Outcome, Protocol

_PROVENANCE: Final = ("revision", "dirty", "data_fingerprint", "command")


def default_url() -> str:
    """Where results lie unless somebody says otherwise: `NAS_STORE`, or nas.db in this folder."""
    return os.environ.get("NAS_STORE") or "sqlite:///nas.db"


class Store:
    """Studies, trials and epochs in one database.

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

    def create_study(
        self,
        name: str,
        *,
        space: str,
        objectives: Mapping[str, str],
        budget: Mapping[str, float],
        seed: int,
        settings: Mapping[str, object] | None = None,
    ) -> int:
        """Begin a study and return its id.

        Raises:
            StoreError: the name is taken.
        """
        values = {
            "name": name,
            "space": space,
            "objectives": dict(objectives),
            "budget": dict(budget),
            "seed": seed,
            "settings": dict(settings or {}),
            "created": writes.now(),
        }
        try:
            with database.writing(self._engine) as connection:
                return writes.add(connection, schema.study, values)
        except StoreError as error:
            if self.study(name) is None:
                raise
            remedy = "Resume it (--resume) or choose another name"
            raise StoreError(law("A study", "a name of its own", {"study": name}, remedy)) from error

    def import_study(self, name: str, trials: Sequence[ImportedTrial], facts: Mapping[str, object]) -> int:
        """Record a whole study that others have trained, in one transaction, and return its id.

        Args:
            name: of the study.
            trials: all finished.
            facts: columns of the study: `space`, `objectives`, `budget`, `seed`, `settings`.

        Raises:
            StoreError: the name is taken.
        """
        if self.study(name) is not None:
            remedy = "Import it under another name with --study NAME"
            raise StoreError(law("An imported study", "a name of its own", {"study": name}, remedy))
        with database.writing(self._engine) as connection:
            study_id = writes.add(connection, schema.study, {"name": name, "created": writes.now(), **facts})
            import_trials(connection, study_id, trials)
            return study_id

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

    def edit_study(
        self,
        study_id: int,
        *,
        space: str,
        budget: Mapping[str, float],
        inside: Mapping[int, Mapping[str, Value]],
        outside: Collection[int],
    ) -> None:
        """Give a study another space.

        Args:
            study_id: whose.
            space: the YAML as it was read.
            budget: its limits.
            inside: number -> answers of the trials that are in it.
            outside: numbers of those that are not: they stay, and do not count; what was unfinished is skipped.
        """
        with database.writing(self._engine) as connection:
            writes.edit_study(connection, study_id, {"space": space, "budget": dict(budget)})
            writes.sort_trials(connection, study_id, inside, outside)

    def record_provenance(self, study_id: int, facts: Mapping[str, object]) -> None:
        """Note where and with what the study is run now.

        Args:
            study_id: whose.
            facts: plain values; `revision`, `dirty`, `data_fingerprint` and `command` get columns of their own.
        """
        own = {name: facts.get(name) for name in _PROVENANCE}
        rest = {name: value for name, value in facts.items() if name not in _PROVENANCE}
        with database.writing(self._engine) as connection:
            row = {"study_id": study_id, "created": writes.now(), "facts": rest, **own}
            connection.execute(insert(schema.provenance).values(row))

    def provenance(self, study_id: int) -> list[Row]:
        """What `record_provenance` noted, oldest first."""
        with database.reading(self._engine) as connection:
            return queries.provenances(connection, study_id)

    # The life of a trial

    def propose(
        self,
        study_id: int,
        number: int,
        *,
        identity: str,
        architecture: Architecture,
        protocol: Protocol,
        seed: int,
        cost: Mapping[str, int] | None,
        answers: Mapping[str, Value],
        choices: Mapping[str, Value],
        epochs: int,
        origin: str = "sampler",
        repeats: int = 0,
        arm: str | None = None,
    ) -> int:
        """Record what is about to be tried and return the trial's id.

        Args:
            study_id: whose.
            number: of the trial in its study.
            identity: the key of its result, across studies.
            architecture: the network.
            protocol: how it is trained and judged.
            seed: of weights, shuffling and augmentation.
            cost: params, macs, macs_conv, activation_bytes; None where they could not be known.
            answers: question -> value: what the sampler was asked.
            choices: path -> value: see `choices_of`.
            epochs: of the full schedule. [count]
            origin: who chose it: `sampler`, `grid`, `neighbour` or `random`; `arm` of an ablation, or `fixed`.
            repeats: known networks that the sampler proposed just before it. [count]
            arm: of an ablation: what it is called there.
        """
        with database.writing(self._engine) as connection:
            owner = writes.architecture_id(connection, architecture)
            values = {
                "study_id": study_id,
                "number": number,
                "state": "proposed",
                "identity": identity,
                "architecture_id": owner,
                "cost_id": None if cost is None else writes.cost_id(connection, owner, protocol, cost),
                "protocol": protocol.canonical(),
                "protocol_fingerprint": protocol.fingerprint,
                "seed": seed,
                "answers": dict(answers),
                "epochs_planned": epochs,
                "origin": origin,
                "repeats": repeats,
                "arm": arm,
                "created": writes.now(),
            }
            trial_id = writes.add(connection, schema.trial, values)
            if choices:
                connection.execute(insert(schema.choice), choice_rows(trial_id, choices))
            return trial_id

    def start(self, trial_id: int, host: str, device: str) -> None:
        """A worker has begun with it."""
        with database.writing(self._engine) as connection:
            writes.change(
                connection, trial_id, {"state": "running", "started": writes.now(), "host": host, "device": device}
            )

    def epoch(self, trial_id: int, epoch: Epoch) -> None:
        """Record an epoch; the trial's own figures follow. The same epoch again replaces it and all that came after."""
        with database.writing(self._engine) as connection:
            writes.record_epoch(connection, trial_id, epoch)

    def retry(self, trial_id: int, reason: str) -> None:
        """Its worker was lost; another goes on with it.

        Raises:
            StoreError: it has ended already.
        """
        with database.writing(self._engine) as connection:
            writes.record_retry(connection, trial_id, reason)

    def end(self, trial_id: int, outcome: Outcome) -> None:
        """Record how it ended; whatever epochs it had are kept.

        Raises:
            StoreError: it has ended already.
        """
        with database.writing(self._engine) as connection:
            writes.record_end(connection, trial_id, outcome)

    def replay(self, trial_id: int, of: int) -> None:
        """Give it the recorded result of another trial; nothing was trained.

        Raises:
            StoreError: it has ended already, or the other has no final result.
        """
        with database.writing(self._engine) as connection:
            writes.record_replay(connection, trial_id, of)

    def skip(self, trial_id: int, reason: str) -> None:
        """It will not be trained; `error` says why."""
        with database.writing(self._engine) as connection:
            writes.change(connection, trial_id, {"state": "skipped", "error": reason, "ended": writes.now()})

    def requeue(self, trial_id: int) -> None:
        """Put an unfinished trial back in line; what it has recorded stays.

        Raises:
            StoreError: it has ended for good.
        """
        with database.writing(self._engine) as connection:
            again = {"state": "proposed", "ended": None, "rung": None, "missing": None}
            writes.change(connection, trial_id, again)

    def mark_orphans(self, study_id: int) -> int:
        """Mark what a killed driver left in training as interrupted, and return how many those are."""
        trial, left = schema.trial, ("proposed", "running")
        with database.writing(self._engine) as connection:
            orphans = update(trial).where(trial.c.study_id == study_id, trial.c.state.in_(left))
            return connection.execute(orphans.values(state="interrupted", ended=writes.now())).rowcount

    # What is known

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

    def record_evaluation(self, trial_id: int, facts: Mapping[str, object]) -> None:
        """Keep what a later evaluation gave: split, samples, settings, miou, pixel_accuracy, class_iou, seconds."""
        with database.writing(self._engine) as connection:
            evaluations.record(connection, trial_id, facts)

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
