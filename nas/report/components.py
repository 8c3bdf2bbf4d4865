"""The catalogue as rows, from constructors and docstrings alone: nothing about a component is written twice."""

from __future__ import annotations

import inspect
import json
import re

from blocks.catalogue import KINDS, catalogue, component_type
from blocks.options import options_of

Row = dict[str, object]


def component_rows(slot: str | None = None) -> list[Row]:
    """One row per component; with a slot, only its own, and their options with defaults.

    What is not verified comes from a paper without public code to compare with.

    Raises:
        BlockError: there is no such slot.
    """
    rows: list[Row] = []
    for each in KINDS if slot is None else (slot_of(slot),):
        for name, component in catalogue(each).items():
            text = inspect.getdoc(component) or ""
            options = ", ".join(f"{o.name}={written(o.default)}" for o in options_of(component).values())
            rows.append(
                {
                    **({"slot": each} if slot is None else {}),
                    "name": name,
                    "summary": text.partition("\n")[0],
                    **({"options": options} if slot else {}),
                    "verified": not section(text, "Deviations").startswith("Unverified"),
                    "source": " ".join(section(text, "Source").split()),
                }
            )
    return rows


def option_rows(slot: str, name: str) -> list[Row]:
    """One row per option of a component.

    Raises:
        BlockError: there is no such slot or component.
    """
    component = component_type(slot_of(slot), name)
    meanings = arguments(inspect.getdoc(component) or "")
    return [
        {
            "option": option.name,
            "type": option.type,
            "default": option.default,
            "bounds": str(option.range) if option.range else "",
            "when": f"{option.when.option}: {' or '.join(map(written, option.when.values))}" if option.when else "",
            "meaning": meanings.get(option.name, ""),
        }
        for option in options_of(component).values()
    ]


def description(slot: str, name: str) -> str:
    """The whole docstring of a component.

    Raises:
        BlockError: there is no such slot or component.
    """
    return inspect.getdoc(component_type(slot_of(slot), name)) or ""


def slot_of(word: str) -> str:
    """The slot that a word means, the plural included (`contexts`, `losses`, `auxiliaries`)."""
    return next((kind for kind in KINDS if word in {kind, f"{kind}s", f"{kind}es", f"{kind[:-1]}ies"}), word)


def section(text: str, title: str) -> str:
    """Cut one section (`Args`, `Source`, ...) out of a docstring, without its title; empty if there is none."""
    found = re.search(rf"^{title}:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    return inspect.cleandoc(found[1]) if found else ""


def arguments(text: str) -> dict[str, str]:
    """What a docstring's `Args` say about each parameter, on one line each."""
    entries = re.split(r"^(\w+): ", section(text, "Args"), flags=re.MULTILINE)[1:]
    return {name: " ".join(meaning.split()) for name, meaning in zip(entries[::2], entries[1::2], strict=True)}


def written(value: object) -> str:
    """Write a value the way it stands in a space file."""
    return value if isinstance(value, str) else json.dumps(value)
