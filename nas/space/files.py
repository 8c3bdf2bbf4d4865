"""Find the file of a space, take in what it extends, and set single values.

How `extends:` merges: the sections in `MERGED` are taken over key by key and the extending file wins. Everything else
is one answer (a slot, the data set, a question, the objectives, the list of what is forbidden) and is replaced whole.
What is `published:` of one network holds for no other, and is not taken over.

A preset that is named over a recipe that was written out takes its place, the whole `training:` section; named over
another preset it replaces that one alone. So a space can be given another recipe, and one that stands on a preset a
shorter one, from outside.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from blocks.errors import SpaceError, law, nearest
from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Node, Scalar, Table, is_null
from nas.space.reader import MAX_BYTES, MAX_DEPTH, read
from nas.space.sections import ALIASES

MERGED = ("", "shared", "architecture", "training", "training.losses", "budget", "search", "resources")
MAX_EXTENDS = 8
FOLDER = "presets"  # below search_spaces: recipes, no spaces
_PRESET = "training.preset"


def shipped() -> dict[str, Path]:
    """The spaces that come with the package, by name: `camvid`, `ablations/contexts`."""
    root = Path(str(files("search_spaces")))
    found = sorted(path for p in root.rglob("*.yaml") if (path := p.relative_to(root)).parts[0] != FOLDER)
    return {path.with_suffix("").as_posix(): root / path for path in found}


def recipes() -> dict[str, Path]:
    """The presets that come with the package, by name: `cityscapes_80k`."""
    root = Path(str(files("search_spaces"))) / FOLDER
    return {path.stem: path for path in sorted(root.glob("*.yaml"))}


def find(name: str | Path, beside: Path | None = None) -> Path:
    """Return the file behind the name of a shipped space or a path.

    Args:
        name: what a person wrote.
        beside: the folder that relative paths start from; None is the current one.

    Raises:
        SpaceError: there is neither.
    """
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    path = (beside or Path()) / Path(name)
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have, such as one of 5,000 characters
        if path.is_file():
            return path
    known_or_file = "the name of a shipped space, or a file that exists"
    recipe = f"It is a recipe: write training: {{preset: {name}}}" if str(name) in recipes() else ""
    raise SpaceError(law("A search space", known_or_file, {"name": str(name)}, recipe or nearest(str(name), known)))


def load(path: Path, mistakes: Mistakes, above: tuple[Path, ...] = ()) -> Table | None:
    """Read a file and everything that it extends; None where that failed (the reasons are in `mistakes`)."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        got = {"reason": error.strerror}
        mistakes.add(Mark(str(path)), "A search space", "a file that can be read", got, "Check the path and its rights")
        return None
    return extended(as_root(read(content, shown(path), mistakes), mistakes), path, mistakes, above)


def as_root(node: Node | None, mistakes: Mistakes) -> Table | None:
    """The document as a mapping of sections, with one name for each limit: `flops` replaces a parent's `macs`."""
    if node is None:
        return None
    if isinstance(node, Table):
        limits = node.entries.get("budget")
        if not isinstance(limits, Table) or not any(alias in limits for alias in ALIASES):
            return node
        own = limits
        for alias, name in ALIASES.items():
            if alias in own and name not in own:
                own = without(own.replaced(name, own[alias], own.at(alias)), alias)
        return node.replaced("budget", own, node.at("budget"))
    mistakes.add(node.mark, "A search space", "sections such as `architecture:`", {"found": "no mapping"}, "See README")
    return None


def extended(root: Table | None, path: Path | None, mistakes: Mistakes, above: tuple[Path, ...] = ()) -> Table | None:
    """Take in the file that `extends:` names."""
    if root is None or "extends" not in root:
        return root
    node, mark = root["extends"], root.at("extends")
    own = without(root, "extends")
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        mistakes.add(mark, "extends", "one name or path", {"extends": "another thing"}, "Write extends: NAME")
        return own
    try:
        parent = find(node.value, path.parent if path else None)
    except SpaceError as error:
        mistakes.found.append((node.mark, str(error)))
        return own
    line = (*above, path.resolve()) if path else above
    if parent.resolve() in line or len(line) > MAX_EXTENDS:
        got = {"extends": node.value}
        mistakes.add(node.mark, "extends", f"no circle and at most {MAX_EXTENDS} files", got, "Extend another file")
        return own
    base = load(parent, mistakes, line)
    return own if base is None else merged(without(base, "published"), own)


def merged(base: Table, over: Table, path: str = "") -> Table:
    """Lay one table over another; see the head of this file."""
    for key, node in over.entries.items():
        inner = f"{path}.{key}".lstrip(".")
        below = base.entries.get(key)
        anew = inner == "training" and isinstance(node, Table) and named_anew(below, node)
        if inner in MERGED and isinstance(below, Table) and isinstance(node, Table) and not anew:
            base = base.replaced(key, merged(below, node, inner), base.at(key))
        else:
            base = base.replaced(key, node, over.at(key))
    return base


def named_anew(below: Node | None, over: Table) -> bool:
    """Tell whether a recipe names a preset and the one that it is laid over does not."""
    return "preset" in over and isinstance(below, Table) and "preset" not in below


def with_sets(root: Table, sets: Sequence[str], mistakes: Mistakes) -> Table:
    """Apply `--set path.in.the.file=value`, one after the other; a preset comes first, since others may change it."""
    for text in sorted(sets, key=lambda text: text.partition("=")[0].strip() != _PRESET):
        mark = Mark(f"--set {text if len(text) <= 80 else text[:77] + '...'}")
        path, equals, value = text.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(re.fullmatch(r"[\w/+-]+", key) for key in keys) or len(keys) > MAX_DEPTH:
            mistakes.add(mark, "--set", "path.in.the.file=value", {"argument": mark.source[6:]}, "Write --set a.b=c")
            continue
        if keys[0] == "budget":
            keys = [ALIASES.get(key, key) for key in keys]
        node = read(value, mark.source, mistakes, lines=False)
        if node is not None:
            over = Table({"preset": node}, mark)
            if ".".join(keys) == _PRESET and named_anew(root.entries.get("training"), over):
                root = root.replaced("training", over, root.at("training"))
            root = _with(root, keys, node, mark, mistakes)
    return root


def _with(table: Table, keys: list[str], node: Node, mark: Mark, mistakes: Mistakes) -> Table:
    first, *rest = keys
    if not rest:
        return table.replaced(first, node, mark)
    inner = table.entries.get(first, Table({}, mark))
    if is_null(inner):
        inner = Table({}, mark)
    if isinstance(inner, Scalar) and inner.value == rest[0]:
        # `head: ssa` is short for `head: {ssa: }`.
        inner = Table({rest[0]: Scalar(None, inner.mark)}, inner.mark)
    if not isinstance(inner, Table):
        remedy = f"Set {first} as a whole"
        mistakes.add(mark, "--set", "mappings along its path", {"at": first}, remedy)
        return table
    return table.replaced(first, _with(inner, rest, node, mark, mistakes), table.keys.get(first, mark))


def without(table: Table, key: str) -> Table:
    """The same table but for one key."""
    entries = {k: v for k, v in table.entries.items() if k != key}
    return Table(entries, table.mark, {k: v for k, v in table.keys.items() if k != key})


def shown(path: Path) -> str:
    """A file's name as marks print it: short where it is below the current folder."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
