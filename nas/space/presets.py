"""Recipes by name: `training: {preset: cityscapes_80k}` stands for the values that its file holds.

A preset is a file below `search_spaces/presets`: options of `training:` and of the data set, where they come from, and
what was reported with them. It is read where a space is, and nothing of it but its values goes on: the protocol and the
stored space hold them as if a person had written them, whatever becomes of the file later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blocks.errors import SpaceError, law, nearest
from blocks.options import Option, options_of
from nas.space.files import merged, recipes, shown, without
from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Listing, Node, Scalar, Table, literal, plain
from nas.space.reader import read
from runners.data import DATASETS
from runners.training import Training

KEYS: Final = ("extends", "source", "reported", "data", "training")
_EMPTY: Final = Mark("preset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A recipe and where it comes from.

    Args:
        name: what a space calls it.
        path: its file.
        source: the paper or the configuration that it reproduces.
        reported: mIoU that was reported with it, as text; empty where none was.
        parent: the preset that it differs from; empty where it stands alone.
        data: the data set that it is for.
        options: of that data set: crop and size of the images.
        training: what it sets of the `training:` section.
    """

    name: str
    path: Path
    source: str
    reported: str
    parent: str
    data: str
    options: Table
    training: Table


def preset(name: str) -> Preset:
    """Read the preset of this name, with what it takes over from another.

    Raises:
        SpaceError: there is none, or its file is wrong.
    """
    known = recipes()
    if name not in known:
        raise SpaceError(law("A preset", "a name that exists", {"preset": name}, nearest(name, known)))
    mistakes = Mistakes()
    root = read(known[name].read_bytes(), shown(known[name]), mistakes)
    mistakes.raise_any(name)
    return _made(name, known[name], root)


def _made(name: str, path: Path, root: Node | None) -> Preset:
    if not isinstance(root, Table) or set(root) - set(KEYS) or "source" not in root:
        needs = f"`source` and none but {', '.join(KEYS)}"
        raise SpaceError(
            law(f"The preset {name}", needs, {"keys": list(root) if isinstance(root, Table) else None}, "")
        )
    words = {key: str(plain(root[key])) if key in root else "" for key in ("extends", "source", "reported")}
    base = preset(words["extends"]) if words["extends"] else None
    training, named = root.entries.get("training"), root.entries.get("data")
    own = training if isinstance(training, Table) else Table({}, _EMPTY)
    data, options = (base.data, base.options) if base else ("", Table({}, _EMPTY))
    if isinstance(named, Table):
        ((data, given),) = named.entries.items()
        assert isinstance(given, Table), f"options of {data} in the preset {name}"
        options = given
    return Preset(
        name=name,
        path=path,
        source=words["source"],
        reported=words["reported"],
        parent=words["extends"],
        data=data,
        options=options,
        training=merged(base.training, own, "training") if base else own,
    )


def resolved(root: Table, mistakes: Mistakes) -> Table:
    """Put the values of `training.preset` where nothing else is written, and take its name away.

    What it says of the data goes to any data set that has such options: a recipe for streets is as good for one's own
    streets in a folder. Values that lose their sense by what the file writes (SGD's momentum under AdamW) are left out.
    """
    node = root.entries.get("training")
    if not isinstance(node, Table) or "preset" not in node:
        return root
    mark, own = root.at("training"), without(node, "preset")
    found = _found(node["preset"], mistakes)
    if found is None:
        return root.replaced("training", own, mark)
    _counted(found, own, mistakes)
    recipe = _sensible(found.training, own, options_of(Training))
    root = root.replaced("training", merged(recipe, own, "training"), mark)
    return _with_data(root, found.options)


def _found(node: Node, mistakes: Mistakes) -> Preset | None:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        got = {"preset": plain(node)}
        mistakes.add(node.mark, "training.preset", "the name of one preset", got, "See nas presets")
        return None
    try:
        return preset(node.value)
    except SpaceError as error:
        mistakes.found.append((node.mark, f"training.preset: {error} See nas presets."))
        return None


def _counted(found: Preset, own: Table, mistakes: Mistakes) -> None:
    """Note epochs that are written without iterations: passes over the images may be meant, and would be rounds."""
    steps = plain(found.training["iterations"]) if "iterations" in found.training else 0
    if steps and "epochs" in own and "iterations" not in own:
        needs = f"`iterations` beside it, in which the preset {found.name} counts"
        remedy = f"Write iterations: 0 for so many passes over the images, or {steps} for so many rounds of evaluation"
        mistakes.add(own.at("epochs"), "training.epochs", needs, {"epochs": plain(own["epochs"])}, remedy)


def _sensible(recipe: Table, own: Table, schema: Mapping[str, Option]) -> Table:
    """Leave out of a recipe what exists only for values that the file has replaced."""
    for name in list(recipe):
        when = schema[name].when if name in schema else None
        if name in own or when is None or when.option not in own:
            continue
        if not any(value in when.values for value in _answers(own[when.option])):
            recipe = without(recipe, name)
    return recipe


def _answers(node: Node) -> tuple[object, ...]:
    """The values that a fixed option or a choice may take."""
    inner = node.entries.get("choice") if isinstance(node, Table) else node
    return tuple(literal(item) for item in inner.items) if isinstance(inner, Listing) else (literal(node),)


def _with_data(root: Table, options: Table) -> Table:
    """Fill in what the data set's own options leave open; a data set that is wrong is somebody else's to report."""
    node = root.entries.get("data")
    if isinstance(node, Scalar) and isinstance(node.value, str):
        name, given, key = node.value, None, node.mark
    elif isinstance(node, Table) and len(node.entries) == 1:
        ((name, given),) = node.entries.items()
        key = node.at(name)
    else:
        return root
    if name not in DATASETS or isinstance(given, Listing):
        return root
    own = given if isinstance(given, Table) else Table({}, key)
    filled = own
    for option in options:
        if option in options_of(DATASETS[name]) and option not in own:
            filled = filled.replaced(option, options[option], options.at(option))
    return root.replaced("data", Table({name: filled}, key, {name: key}), root.at("data"))
