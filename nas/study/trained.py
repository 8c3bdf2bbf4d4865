"""A trial's network with the weights that it was trained to, from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blocks.architecture import Architecture, Component
from blocks.catalogue import versions
from blocks.errors import RunError, law
from blocks.network import Network
from blocks.options import supplied
from nas.space import Space
from nas.store import Store
from nas.study.recorded import protocol_of
from runners import checkpoint
from runners.data import DATASETS, DataInfo, DataSet, dataset
from runners.identity import descended, identity
from runners.inference import restored
from runners.protocol import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained network and what is recorded of it.

    Args:
        study: the study's name.
        row: the trial's: the flat row and what is long.
        architecture: the network as a value.
        protocol: how it was trained.
        network: with its weights, in eval mode, on its device.
        epoch: the last whole one that the weights have behind them. [count]
    """

    study: str
    row: Mapping[str, Any]
    architecture: Architecture
    protocol: Protocol
    network: Network
    epoch: int

    @property
    def info(self) -> DataInfo:
        """What is known of its data set from the options alone."""
        return info_of(self.protocol.data)


def trained(store: Store, study: str, number: int, *, folder: Path, device: torch.device) -> Trained:
    """Build a trial's network with the weights of its checkpoint.

    Args:
        store: where it is recorded.
        study: the study's name.
        number: of the trial.
        folder: where checkpoints lie: `--folder` of the sweep.
        device: where the network shall be.

    Raises:
        QueryError: there is no such study or trial.
        RunError: no checkpoint was kept, or it does not serve.
    """
    path = checkpoint_of(store, study, number, folder)
    row = store.find_trial(store.find_study(study)["id"], number)
    architecture, protocol = Architecture.from_canonical(row["architecture"]), protocol_of(row["protocol"])
    _check_versions(row, architecture, protocol, _parent(store, study, row))
    # Read to the CPU first: the optimiser's state is as large again as the weights, and nobody needs it.
    state = checkpoint.read(path, identity=row["identity"], device=torch.device("cpu"))
    try:
        network = restored(architecture, protocol, state)
    except RuntimeError as error:  # torch's word for keys and shapes that do not match
        got = {"path": str(path), "error": str(error).splitlines()[0]}
        raise RunError(law("A checkpoint", "the weights of this network", got, "Train it again")) from error
    return Trained(
        study=study,
        row=row,
        architecture=architecture,
        protocol=protocol,
        network=network.to(device),
        epoch=len(state["epochs"]),
    )


def data_of(store: Store, found: Trained, root: str = "") -> DataSet:
    """The data set of a trial: where `root` says, or the space of its study.

    Raises:
        SpaceError: the space names a variable that is not set.
        DataError: it cannot be opened as it was.
        RunError: `root` is given to a data set that lies nowhere.
    """
    component = found.protocol.data
    places = supplied(DATASETS[component.name]) if component.name in DATASETS else []
    if root and not places:
        raise RunError(law("--root", "a data set of files", {"data": component.name}, "Drop it"))
    study = store.find_study(found.study)
    # Shapes lie nowhere, and a study that others have trained has no space.
    place = {places[0]: root} if root else Space.loads(study["space"], found.study).places() if places else {}
    return dataset(component, place)


def info_of(component: Component) -> DataInfo:
    """What is known of a data set from its options alone, wherever it lies.

    Raises:
        DataError: there is no such data set, or its options contradict each other.
    """
    places = supplied(DATASETS[component.name]) if component.name in DATASETS else []
    return dataset(component, dict.fromkeys(places, "unread")).info


def checkpoint_of(store: Store, study: str, number: int, folder: Path) -> Path:
    """Where the checkpoint lies of a trial, or of that whose result it replays.

    Raises:
        QueryError: there is no such study or trial.
        RunError: it was never trained, or no checkpoint was kept.
    """
    row = store.find_trial(store.find_study(study)["id"], number)
    if not row["epochs"]:
        got = {"state": row["state"], "epochs": 0}
        remedy = "Choose one that was trained: `nas trials` lists them"
        raise RunError(law(f"Trial {row['number']} of {study}", "to have been trained", got, remedy))
    # Who keeps no checkpoint of a trial has none of those that replay it.
    name, number = (store.trained_as(row["replay_of"]) if row["replay_of"] else None) or (study, row["number"])
    path = folder / name / f"{number:06d}" / "checkpoint.pt"
    if not path.is_file():
        remedy = (
            "Say where the sweep wrote to (--folder); or train it again with `nas train`. "
            "Sweeps keep all of them with resources.keep: last, those of the front with front, none with none"
        )
        raise RunError(law(f"Trial {row['number']} of {study}", "a checkpoint", {"missing": str(path)}, remedy))
    return path


def _parent(store: Store, study: str, row: Mapping[str, Any]) -> str | None:
    """The key of the result whose weights a trial began with, or None."""
    if row["parent"] is None:
        return None
    return str(store.find_trial(store.find_study(study)["id"], row["parent"])["identity"])


def _check_versions(row: Mapping[str, Any], architecture: Architecture, protocol: Protocol, parent: str | None) -> None:
    """Refuse weights of components that compute something else by now."""
    now = identity(architecture, protocol, row["seed"], versions(architecture, protocol.losses()))
    if row["origin"] != "imported" and descended(now, parent) != row["identity"]:
        got = {"trained as": row["identity"], "here": now}
        needs = "components of the versions that it was trained with"
        raise RunError(law(f"Trial {row['number']}", needs, got, "Use the version of nas that trained it"))
