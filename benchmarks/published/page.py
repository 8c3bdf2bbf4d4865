"""The page of all contexts: what each costs, and how it agrees with its authors' code."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from blocks.catalogue import component_type
from nas.report.components import section

Row = dict[str, Any]

HEAD = """# Components, measured

Written by `python -m benchmarks.blocks --reference FOLDER --docs docs`; do not edit.

Times are ratios to one 3x3 convolution 512 -> 512 without bias on 2x512x64x64 in the same run (CPU, one thread,
float32); *train* is forward + backward in train mode. Multiply-accumulates (MACs) are those of the whole input:
convolutions and linear layers + attention. Peak memory is what lived at once beside weights and inputs.

Measured on a shared machine, where ratios move by a tenth from run to run, and by more where memory rather than
arithmetic binds a module (gates, depthwise convolutions, resizing). Criss-cross and interlaced attention are level with
the published code: most of their time is that of the projections. Attention among all pixels whose values are as
wide as its keys (`isnet_ilcm`) is bound by its products, and training computes again what memory does not hold.
"""

PUBLISHED = """
## Against the published code

At the arguments and the input of each published module; *theirs* are the figures of the reference facts. *Error* is
the largest relative difference from recorded outputs under the recorded weights, where a case is at hand.

| component | paper | published | parameters | theirs | MACs [G] | theirs | error | forward | theirs | train | theirs |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
"""

DEFAULTS = """
## At their defaults

On two maps 512x64x64 of stride 8, 19 classes; what reads several levels also gets 256x128x128 and 256x64x64.

| component | paper | parameters | MACs [G] | forward | train | peak forward [MB] | peak train [MB] |
|---|---|---:|---:|---:|---:|---:|---:|
"""


def write(found: list[Row], folder: Path) -> None:
    """File rows in contexts.json, in the place of earlier ones of the same modules, and write contexts.md from it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "contexts.json"
    filed = {key(row): row for row in (json.loads(file.read_text()) if file.exists() else [])}
    filed |= {key(row): row for row in found}
    rows = sorted(filed.values(), key=lambda row: ("published" not in row, row.get("slot", ""), key(row)))
    file.write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "contexts.md").write_text(page(rows))


def key(row: Row) -> str:
    return f"{row['component']} {row.get('published') or row['slot']}"


def page(rows: list[Row]) -> str:
    published = [row for row in rows if "published" in row]
    plain = [row for row in rows if "published" not in row]
    notes = [f"- `{row['published']}`: {row['note']}." for row in published if row["note"]]
    text = HEAD + PUBLISHED + "".join(map(against, published))
    if notes:
        text += "\nWhere they differ:\n\n" + "\n".join(notes) + "\n"
    return text + DEFAULTS + "".join(map(alone, plain))


def against(row: Row) -> str:
    error = "" if row["error"] is None else f"{row['error']:.0e}"
    theirs = giga(row["their_macs_conv"], row["their_macs_attention"])
    cells = (
        row["component"],
        row["paper"],
        row["published"],
        f"{row['params']:,}",
        f"{row['their_params']:,}",
        giga(row["macs_conv"], row["macs_attention"]),
        theirs,
        error,
        row["forward"],
        row["their_forward"] or "",
        row["train"],
        row["their_train"] or "",
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def alone(row: Row) -> str:
    text = inspect.getdoc(component_type(row["slot"], row["component"])) or ""
    unverified = " (unverified)" if section(text, "Deviations").startswith("Unverified") else ""
    source = section(text, "Source").splitlines()[0]
    cells = (
        f"{row['slot']} {row['component']}{unverified}",
        source,
        f"{row['params']:,}",
        giga(row["macs_conv"], row["macs_attention"]),
        row["forward"],
        row["train"],
        round(row["peak_forward_bytes"] / 1e6),
        round(row["peak_train_bytes"] / 1e6),
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def giga(conv: int | None, attention: int | None) -> str:
    """Both counts in units of 10^9, the second only where there is one."""
    if conv is None:
        return ""
    return f"{conv / 1e9:.3g}" + (f" + {attention / 1e9:.3g}" if attention else "")
