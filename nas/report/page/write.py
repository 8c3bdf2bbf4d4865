"""Joins template, style, script, Plotly and data into one file that fetches nothing and runs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from blocks.errors import StoreError, law

_SCRIPTS: Final = ("study.js", "charts.js", "front.js", "pictures.js", "card.js", "table.js", "page.js")


def write_page(path: Path, content: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: the file.
        content: what `nas.report.page.payload` spells out.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        path.write_text(page(content), encoding="utf-8")
    except OSError as error:
        got = {"path": str(path), "error": error.strerror}
        raise StoreError(law("--output", "a file that can be written", got, "Give another path")) from error


def page(content: Mapping[str, Any]) -> str:
    """The page as text."""
    from plotly.offline import get_plotlyjs

    plotly = get_plotlyjs()
    # It stands before Plotly, which takes a browser a while: header and table are there at once.
    script = '(() => {"use strict";\n' + "\n".join(_part(name) for name in _SCRIPTS) + "})();"
    parts = {
        "title": html.escape(str(content["name"])),
        "policy": html.escape(_policy(plotly, script)),
        "style": _part("page.css"),
        "plotly": plotly,
        "study": embedded(content),
        "script": script,
    }
    # One pass: what is put in is never looked through for places again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _part("page.html"))


def embedded(content: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or begins a comment."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _policy(*scripts: str) -> str:
    """Which scripts may run: these two, by their hashes. Nothing may be fetched.

    Plotly compiles its WebGL shaders' drivers at run time, hence `unsafe-eval`, and adds style elements.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    rules = ("default-src 'none'", f"script-src {hashes} 'unsafe-eval'", "style-src 'unsafe-inline'")
    return "; ".join((*rules, "img-src data: blob:", "base-uri 'none'", "form-action 'none'"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
