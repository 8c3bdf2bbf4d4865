"""The reference of a space file, from the schema itself: `python -m nas.report.reference > docs/yaml.md`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from blocks.architecture import NONE, SLOTS, Architecture
from blocks.catalogue import catalogue
from blocks.options import Option, options_of, supplied
from nas.report.components import Row, arguments, written
from nas.report.tables import render
from nas.space import SAMPLERS
from nas.space.ablation import Settings
from nas.space.files import MAX_EXTENDS, MERGED
from nas.space.published import Measured, Published, Reported
from nas.space.root import REST, SECTIONS
from nas.space.sections import ALIASES, COSTS, SENSES, Resources, Search
from nas.space.tree import LOSSES
from runners.data import DATASETS
from runners.protocol import Halving
from runners.training import Training

_COLUMNS: Final = ("option", "type", "default", "bounds", "exists when", "meaning")
_NESTED: Final = frozenset({"sampler", "early_stopping", "measured", "reported"})

_ABOUT: Final[Mapping[str, str]] = {
    "name": "what the study is called unless `--study` says otherwise; the file's own name where none is written",
    "data": "the data set and its options; required",
    "shared": "questions that several places take the one answer of",
    "architecture": "what the networks are made of; required",
    "training": "how each is trained, its losses among it",
    "objectives": "what is optimised",
    "budget": "what a candidate may cost at most; what costs more is never trained",
    "forbid": "combinations that make no sense",
    "search": "how the space is searched, and for how long",
    "resources": "what a trial gets of the machine; never changes a result",
    "ablation": "what `nas ablate` compares with what",
    "published": "of one fixed network: what others print of its size",
}

_QUESTIONS: Final = """\
Wherever an option stands, in `architecture` and in `training`, a file may hold a value, or a question that is answered
anew for each candidate:

| written | answers |
| --- | --- |
| `512` | that value |
| `{choice: [a, b]}` | one of the list; lists of lists where the option takes lists |
| `{int: [8, 64]}` | a whole number, both ends included; `step: 8` counts from the lower, `log: true` samples by ratio |
| `{float: [1.0e-4, 1.0e-2]}` | a number, both ends included; `step` and `log` likewise, but not both |
| `{shared: width}` | the answer to the question `width` under `shared:` |

`ordered: true` beside a question says that later answers make a network at least as wide or deep;
`search.partial_order` relies on it. Values are checked strictly: `'512'`, `yes` and `true` are no numbers. A slot takes
a component by name (`ppm`), with options (`{ppm: {bins: [1, 2, 4]}}`), or a choice of several, as a list of names or as
a mapping with options:

```yaml
data: shapes
shared:
  width: {choice: [64, 128]}
architecture:
  backbone: {timm: {model: {choice: [resnet18, mobilenetv3_small_100]}}}
  context:
    choice:
      none:
      ppm: {channels: {shared: width}, bins: {choice: [[1, 2, 3, 6], [1, 2, 4]]}}
      psa: {mode: {choice: [parallel, sequential]}}
  align: {bilinear: {channels: {shared: width}}}
  head: {choice: [linear, ssa]}
training:
  epochs: 8
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
forbid:
  - {context: psa, head: ssa}
```

`--set PATH=VALUE` changes one value of the file on the command line. Environment variables stand in paths alone:
`root: "${CAMVID}"`."""

_FORBID: Final = """\
Each entry maps places to values; a candidate in which all of them hold does not exist. A slot holds a component
(`context: psa`), an option a value (`context.ppm.bins: [1, 2, 4]`) or one of several (`backbone.timm.model:
[resnet18, resnet34]`). A list is one value where the option itself takes lists; alternatives of lists are lists of
lists. `training.OPTION`, `training.losses.main` and `shared.NAME` are places, too."""


_ABLATION: Final = """\
Places are those of questions, as under `forbid`. `baseline: {context: ppm, head: ssa}` holds the answers of the
baseline; a question that is not named takes its first one. `over: [context, head]` names the questions that vary, by
default all. `without: {head: linear}` says what stands in for a thing that `leave_one_out` leaves out.
`arms: {wide: {context.ppm.channels: 512}}` lists arms by name, each with the answers in which it differs from the
baseline; `baseline: wide` may name one of them."""


def reference() -> str:
    """The whole reference as Markdown."""
    parts = [
        "# The space file\n\nWritten by `python -m nas.report.reference`; do not edit. `nas blocks SLOT NAME` prints "
        "the whole documentation of a component, `nas space FILE` checks a file and counts its networks.",
        render([{"section": f"`{name}`", "what it says": _ABOUT[name]} for name in SECTIONS], "md"),
        f"`extends: NAME` takes another file, up to {MAX_EXTENDS} in a row: {_quoted(key for key in MERGED if key)} "
        "are merged key by key, anything else is replaced whole.",
        "## Values and questions",
        _QUESTIONS,
        *_data(),
        *_architecture(),
        *_training(),
        *_figures(),
        "## forbid",
        _FORBID,
        *_search(),
        "## resources",
        _table(Resources),
        "## ablation",
        _table(Settings),
        _ABLATION,
        *_published(),
    ]
    return "\n\n".join(parts) + "\n"


def _data() -> list[str]:
    parts = ["## data", "`data: NAME` or `data: {NAME: {OPTION: VALUE}}`; nothing here is a question."]
    for name, kind in DATASETS.items():
        parts += [f"### data: {name}", _summary(kind)]
        places = [_place(kind, place) for place in supplied(kind)]
        parts.append(_rendered([*places, *_rows(options_of(kind), inspect.getdoc(kind) or "")]))
    return parts


def _architecture() -> list[str]:
    defaults = {slot: c.name for slot, c in Architecture(backbone=NONE).slots()}
    parts = [
        "## architecture",
        f"The slots {_quoted(SLOTS)}, in the order in which the image passes them; beside them `align_corners` "
        f"({written(REST['align_corners'].default)} by default), for everything that resizes.",
    ]
    for slot in SLOTS:
        default = "it must be written" if slot == "backbone" else f"`{defaults[slot]}` where none is written"
        parts += [f"### {slot}", f"By default: {default}."]
        if slot == "refine":
            known = catalogue("context")
            same = [name for name, kind in catalogue(slot).items() if known.get(name) is kind]
            parts.append(f"From the catalogue of the context, on the aligned map: {_quoted(same)}.")
            if len(same) == len(catalogue(slot)):
                continue
        parts.append(_catalogue(slot))
    return parts


def _training() -> list[str]:
    kinds = ", ".join(f"`{key}`" for key in LOSSES)
    return [
        "## training",
        _table(Training),
        f"`losses:` holds {kinds}: each a loss or a list of losses that are added up. `main` supervises the logits "
        "(`cross_entropy` by default), `coarse` the coarse logits of class-aware components (`cross_entropy` with "
        "weight 0.4), `auxiliary` what else a network gives (none).",
        "`weights:` is the path of a file that every network starts from, safetensors or torch: a backbone by names of "
        "timm or torchvision, or a network of `nas`; `nas weights` shows what of it is taken. A file that does not "
        "fit every backbone of the space is refused. Results are known by its contents, not by its path.",
        "### main, coarse",
        _catalogue("loss"),
        "### auxiliary",
        _catalogue("auxiliary"),
    ]


def _figures() -> list[str]:
    aliases = ", ".join(f"`{alias}` means `{name}`" for alias, name in ALIASES.items())
    senses = [{"objective": f"`{name}`", "sense": sense} for name, sense in SENSES.items()]
    return [
        "## objectives",
        f"A mapping, `{{miou: max, macs: min}}` by default; {aliases}.",
        render(senses, "md"),
        "## budget",
        f"A mapping from {_quoted(COSTS)} to the most that a candidate may have of it; null lifts a limit of an "
        "extended file. `latency_ms` and `peak_memory_bytes` are measured by the worker before its first step.",
    ]


def _search() -> list[str]:
    parts = ["## search", _table(Search), "### sampler", "By default `nsga2`."]
    for name, kind in SAMPLERS.items():
        parts += [f"#### sampler: {name}", _summary(kind)]
        if options_of(kind):
            parts.append(_table(kind))
    return [*parts, "### early_stopping", "`none` by default, or `pareto_asha`:", _table(Halving)]


def _published() -> list[str]:
    return [
        "## published",
        _table(Published),
        "`measured:` is what was counted from public code, `reported:` a list of what is printed somewhere:",
        _table(Measured),
        _table(Reported),
    ]


def _catalogue(slot: str) -> str:
    rows: list[Row] = []
    for name, kind in catalogue(slot).items():
        own = _rows(options_of(kind), inspect.getdoc(kind) or "")
        rows += [{"component": f"`{name}`", **row} for row in own or [{"option": "", "meaning": _summary(kind)}]]
    shown = ("component", *(column for column in _COLUMNS if any(row.get(column) for row in rows)))
    return render(rows, "md", columns=shown)


def _table(kind: type) -> str:
    return _rendered(_rows(options_of(kind), inspect.getdoc(kind) or ""))


def _rendered(rows: list[Row]) -> str:
    return render(rows, "md", columns=[name for name in _COLUMNS if any(row.get(name) for row in rows)])


def _rows(options: Mapping[str, Option], text: str) -> list[Row]:
    meanings = arguments(text)
    return [
        {
            "option": f"`{name}`",
            "type": option.type,
            "default": "required" if option.required else _code(option.default),
            "bounds": str(option.range) if option.range else "",
            "exists when": f"{option.when.option} is {' or '.join(map(written, option.when.values))}"
            if option.when
            else "",
            "meaning": meanings.get(name, ""),
        }
        for name, option in options.items()
        if name not in _NESTED
    ]


def _place(kind: Callable[..., Any], name: str) -> Row:
    default = inspect.signature(kind).parameters[name].default
    shown = "required" if default is inspect.Parameter.empty else _code(default)
    meaning = arguments(inspect.getdoc(kind) or "").get(name, "")
    return {"option": f"`{name}`", "type": "path", "default": shown, "meaning": meaning}


def _code(value: object) -> str:
    return f"`{written(value)}`" if value != "" else "`''`"


def _summary(kind: object) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _quoted(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(reference(), end="")
