"""The store: the driver's memory. Only the driver writes, and every write is a short transaction of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import insert, update

from blocks.architecture import Architecture
from blocks.errors import StoreError, law
from blocks.options import Value
from nas.store import database, evaluations, schema, writes
from nas.store.choices import choice_rows
from nas.store.imports import ImportedTrial, import_trials
from nas.store.reader import Reader, default_url
from runners.protocol import Epoch, Outcome, Protocol

__all__ = ["Store", "default_url"]

_PROVENANCE: Final = ("revision", "dirty", "data_fingerprint", "command")


class Store(Reader):
    """A store that can be written: see `Reader` for how it is opened and what it is asked."""

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
        parent: int | None = None,
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
            parent: the id of the trial whose weights it begins with.
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
                "parent": parent,
                "created": writes.now(),
            }
            trial_id = writes.add(connection, schema.trial, values)
            if choices:
                connection.execute(insert(schema.choice), choice_rows(trial_id, choices))
            return trial_id

    def start(self, trial_id: int, host: str, device: str) -> None:
        """A worker has begun with it; told again, the store learns where, and keeps the time."""
        with database.writing(self._engine) as connection:
            writes.record_start(connection, trial_id, host, device)

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

    def record_evaluation(self, trial_id: int, facts: Mapping[str, object]) -> None:
        """Keep what a later evaluation gave: split, samples, settings, miou, pixel_accuracy, class_iou, seconds."""
        with database.writing(self._engine) as connection:
            evaluations.record(connection, trial_id, facts)
