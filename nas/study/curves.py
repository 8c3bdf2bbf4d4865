"""Read a table of learning curves that other code has recorded, and put it into a store as a study.

One JSON object a line: `config` (column -> value), `seed`, `macs`, `params`, and one value an epoch of `miou` and
`epoch_seconds`; `macs_conv` and `activation_bytes`, and `loss` and `pixel_accuracy` an epoch, where they are known.

The networks are not ours. What a record says stands under `imported.COLUMN` in its choices; which network of a space
it corresponds to, the mapping says, and only options that a column answers are recorded as chosen. Neither architecture
nor identity can be that of a network which `nas` trains: the backbone carries the fingerprint of the table, and the
identity is a hash of the record itself. So an imported result is never replayed in a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blocks.architecture import SLOTS, Architecture, Component, canonical_json, fingerprint, freeze
from blocks.errors import DataError, law
from blocks.options import Value
from nas.space import Candidate, Forbidden, Question, Space
from nas.space.tree import Asked
from nas.store import ImportedTrial, Store
from nas.study.columns import Column, read_columns
from nas.study.records import COSTS, LineError, checked, epochs_of
from nas.study.work import info_of
from runners.data import DataInfo
from runners.data.contract import report
from runners.protocol import Protocol


def import_curves(file: str | Path, space: Space, columns: str | Path, *, study: str, store: str | None = None) -> int:
    """Import a table and return how many trials the study has.

    Args:
        file: the table.
        space: whose questions the columns answer.
        columns: a YAML file that says which: see `nas.study.columns`.
        study: the new study's name.
        store: a path or an SQLAlchemy URL; by default `NAS_STORE`, or nas.db in this folder.

    Raises:
        DataError: lines of the table are wrong; every one is named, and nothing is imported.
        SpaceError: the mapping is wrong.
        StoreError: the name is taken.
    """
    table = _Table(space, read_columns(Path(columns), space), _text(Path(file)))
    trials = table.trials()
    facts = {
        "space": space.text,
        "objectives": dict(space.objectives),
        "budget": {},
        "seed": space.search.seed,
        "settings": {"imported": Path(file).name, "fingerprint": table.fingerprint},
    }
    with Store.open(store) as opened:
        opened.import_study(study, trials, facts)
    return len(trials)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        got = {"file": str(file), "reason": str(error)}
        raise DataError(law("A table of curves", "a text file that can be read", got, "Check the path")) from error


@dataclass(slots=True)
class _Table:
    """One table under one mapping."""

    space: Space
    columns: Mapping[str, Column]
    text: str

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.text)

    def trials(self) -> list[ImportedTrial]:
        """Read every line.

        Raises:
            DataError: some are wrong.
        """
        info, problems = info_of(self.space), []
        found: dict[str, tuple[int, ImportedTrial]] = {}
        for number, line in enumerate(self.text.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                trial = self._trial(checked(line), info)
            except LineError as error:
                problems.append(f"line {number}: {error}")
                continue
            first, _ = found.setdefault(trial.identity, (number, trial))
            if first != number:
                problems.append(f"line {number}: it has the config and the seed of line {first}")
        if not found and not problems:
            problems.append("the table has no lines")
        report(problems)
        return [trial for _, trial in found.values()]

    def _trial(self, record: Mapping[str, Any], info: DataInfo) -> ImportedTrial:
        config = record["config"]
        candidate = self._candidate(config)
        epochs = epochs_of(record)
        planned = dict(candidate.training)["epochs"]
        if len(epochs) != planned:
            needs = f"as many values as training.epochs of the space ({planned})"
            raise LineError(law("miou", needs, {"values": len(epochs)}, "Change the space, or leave the network out"))
        chosen = _chosen(self.space, candidate)
        return ImportedTrial(
            identity=fingerprint(canonical_json(["imported", self.fingerprint, config, record["seed"]])),
            architecture=_described(candidate.architecture, chosen, self.fingerprint),
            protocol=self._protocol(candidate, chosen, info),
            seed=record["seed"],
            cost={name: record[name] for name in COSTS if name in record},
            answers=candidate.answers,
            choices=chosen | {f"imported.{column}": freeze(value) for column, value in config.items()},
            epochs=epochs,
        )

    def _candidate(self, config: Mapping[str, Any]) -> Candidate:
        """The network of the space that the columns name."""
        if set(config) != set(self.columns):
            needs = f"the columns of the mapping ({', '.join(self.columns)})"
            raise LineError(law("config", needs, {"config": sorted(config)}, "Map each column, and write each"))
        answers = {column.question: column.answer(freeze(config[name])) for name, column in self.columns.items()}

        def ask(question: Question) -> Value:
            value = answers[question.path]
            if value not in question.domain:
                remedy = "Add it to the space, or translate it under `values:` of its column"
                raise LineError(law(question.path, str(question.domain), {"value": value}, remedy))
            return value

        try:
            return self.space.choose(ask)
        except Forbidden as error:
            raise LineError(f"the space forbids {config}") from error

    def _protocol(self, candidate: Candidate, chosen: Mapping[str, Value], info: DataInfo) -> Protocol:
        """What is known of the training; the rest of our recipe was not theirs."""
        known = [(name, v) for name, v in candidate.training if f"training.{name}" in chosen or name == "epochs"]
        return Protocol(
            data=self.space.data,
            data_fingerprint=f"imported {self.fingerprint}",
            size=info.size,
            classes=info.classes,
            image_channels=info.image_channels,
            training=tuple(known),
            main=(),
            coarse=(),
        )


def _chosen(space: Space, candidate: Candidate) -> dict[str, Value]:
    """The components of the candidate, and of their options those that the space asks for."""
    found: dict[str, Value] = {}
    for slot in space.tree.slots:
        component = getattr(candidate.architecture, slot.kind)
        found[slot.kind] = component.name
        asked = {f.option.name for f in slot.parts[component.name].fields if isinstance(f.leaf, Asked)}
        found |= {f"{slot.kind}.{component.name}.{name}": v for name, v in component.options if name in asked}
    asked = {f.option.name for f in space.tree.training.fields if isinstance(f.leaf, Asked)}
    return found | {f"training.{name}": value for name, value in candidate.training if name in asked}


def _described(architecture: Architecture, chosen: Mapping[str, Value], table: str) -> Architecture:
    """The components by name, with the options that are known, and the table's mark on the backbone."""
    parts: dict[str, Any] = {}
    for slot in SLOTS:
        name = getattr(architecture, slot).name
        known = {o: v for o, v in getattr(architecture, slot).options if f"{slot}.{name}.{o}" in chosen}
        parts[slot] = Component.of(name, known | ({"imported": table} if slot == "backbone" else {}))
    return replace(architecture, **parts)
