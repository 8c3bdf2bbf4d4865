"""A trial as a space file without questions: what `nas sweep`, `nas train` and `nas cost` read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ruamel.yaml import YAML

from blocks.architecture import Architecture, Component
from blocks.errors import SpaceError, StoreError, law
from nas.propose.candidates import protocol_of as protocol_in
from nas.space import Space
from nas.study.recorded import protocol_of
from nas.study.trained import info_of
from runners.protocol import Protocol


def space_file(study: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Write the network of a trial and how it was trained, such that reading it back gives the very same.

    Args:
        study: the row of its study: where the data lie, what is optimised, and what a trial gets are taken from there.
        row: of the trial, with `architecture` and `protocol`.

    Raises:
        SpaceError: components or options are not those of this version of `nas`.
    """
    architecture, protocol = Architecture.from_canonical(row["architecture"]), protocol_of(row["protocol"])
    text = _about(study, row) + _yaml(_plain(study, row, architecture, protocol))
    _check(text, row, architecture, protocol)
    return text


def _about(study: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    said = [f"# Trial {row['number']} of {_line(study['name'])}"]
    if row["miou"] is not None:
        said.append(f": mIoU {row['miou']:.4f} after {row['epochs']} of {row['epochs_planned']} epochs")
    return "".join(said) + ".\n"


def _line(text: str) -> str:
    """Text that cannot leave its comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _plain(
    study: Mapping[str, Any], row: Mapping[str, Any], architecture: Architecture, protocol: Protocol
) -> dict[str, Any]:
    place, resources, weights = _surroundings(study)
    name = protocol.data.name
    return {
        "name": f"{_line(study['name'])[:80]}-{row['number']}",
        "data": {name: {**place, **_options(protocol.data)}},
        "architecture": {
            **{slot: _component(component) for slot, component in architecture.slots()},
            "align_corners": architecture.align_corners,
        },
        "training": {
            **{option: _listed(value) for option, value in protocol.training},
            **({"weights": weights} if protocol.weights else {}),
            "losses": {
                part: [_component(loss) for loss in getattr(protocol, part)] for part in ("main", "coarse", "auxiliary")
            },
        },
        "objectives": dict(study["objectives"]),
        "search": {"trials": 1, "seed": row["seed"], "early_stopping": None},
        **({"resources": resources} if resources else {}),
    }


def _surroundings(study: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any], str]:
    """Where the data lie, what a trial gets, and where its weights lie, as far as the study still says so."""
    try:
        space = Space.loads(study["space"], study["name"])
    except SpaceError:
        # A study that others have trained, or whose components are gone: the network is what matters.
        return {}, {}, "${WEIGHTS}"
    given = {"cpu": space.resources.cpu, "gpu": space.resources.gpu, "loaders": space.resources.loaders}
    return dict(space.place), given, space.weights or "${WEIGHTS}"


def _component(component: Component) -> dict[str, Any] | str:
    return {component.name: _options(component)} if component.options else component.name


def _options(component: Component) -> dict[str, Any]:
    return {name: _listed(value) for name, value in component.options}


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else value


def _yaml(value: Mapping[str, Any]) -> str:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = None  # the innermost collections on one line
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed by its default
    writer.width = 100
    text = io.StringIO()
    writer.dump(value, text)
    return text.getvalue()


def _check(text: str, row: Mapping[str, Any], architecture: Architecture, protocol: Protocol) -> None:
    """Read what was written, and hold it to the value that it is of."""
    space = replace(Space.loads(text, f"trial {row['number']}"), weights_hash=protocol.weights)
    (candidate, *others) = space.enumerate()
    again = protocol_in(space, candidate, info_of(protocol.data), protocol.data_fingerprint)
    got = {
        "architecture": (candidate.architecture.fingerprint, architecture.fingerprint),
        "protocol": (again.fingerprint, protocol.fingerprint),
    }
    if others or any(read != recorded for read, recorded in got.values()):
        remedy = "Use the version of nas that trained it"
        raise StoreError(law("A space file", "to say what was trained", got, remedy))
