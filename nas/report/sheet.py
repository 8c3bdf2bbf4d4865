"""A table that is ready to be set: text in cells, which of it is bold, and a caption."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "#$%&_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # a straight one is in no standard font
    "`": "{}`{}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "→": r"$\rightarrow$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "≥": r"$\geq$",
    "\n": " ",
}
# What LaTeX's first font encoding has or puts together, without further packages.
_ACCENTS = frozenset("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c")
_LETTERS = frozenset("ßæœøåłÆŒØÅŁçÇ")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What is to be set.

    Args:
        name: of the thing that it is about; labels are made of it.
        headings: of the columns.
        rows: text of the cells.
        numeric: which columns are set flush right.
        bold: (row, column) of the cells that stand out.
        caption: what a reader must know, in sentences.
    """

    name: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool] = ()
    bold: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    caption: str = ""

    def is_numeric(self, column: int) -> bool:
        """Whether a column is set flush right."""
        return column < len(self.numeric) and self.numeric[column]


def latex(sheet: Sheet) -> str:
    """A `table` environment; it needs the package booktabs and nothing else."""
    columns = "".join("r" if sheet.is_numeric(i) else "l" for i in range(len(sheet.headings)))

    def line(cells: Sequence[str], row: int | None) -> str:
        set_ = [latex_text(cell) for cell in cells]
        bold = [rf"\textbf{{{text}}}" if (row, i) in sheet.bold and text else text for i, text in enumerate(set_)]
        # A line that begins with a bracket would be read as an option of the line break before it.
        return "  {}" + " & ".join(bold) + r" \\"

    label = re.sub(r"[^A-Za-z0-9]+", "-", sheet.name).strip("-") or "table"
    caption = [rf"  \caption{{{latex_text(sheet.caption)}}}", rf"  \label{{tab:{label}}}"] if sheet.caption else []
    head = [r"\begin{table}", r"  \centering", *caption, rf"  \begin{{tabular}}{{{columns}}}", r"  \toprule"]
    body = [line(row, i) for i, row in enumerate(sheet.rows)]
    tail = [r"  \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join([*head, line(sheet.headings, None), r"  \midrule", *body, *tail])


def latex_text(text: str) -> str:
    """Text as LaTeX prints it: no character of it is a command, and none stops the compiler."""
    set_ = "".join(_latex_character(character) for character in text)
    return re.sub("-(?=-)", "-{}", set_)  # two in a row would become a dash


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if " " <= character <= "~" or character in _LETTERS:
        return character
    parts = unicodedata.normalize("NFD", character)
    if character < "\u0180" and len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in _ACCENTS:
        return character
    # What the standard fonts lack is named, not lost.
    return rf"\texttt{{U+{ord(character):04X}}}"


def html_table(sheet: Sheet) -> str:
    """A `<table>` with its caption, for a page of the reader's own."""

    def line(cells: Sequence[str], tag: str, row: int | None) -> str:
        set_ = []
        for i, cell in enumerate(cells):
            text = html.escape(cell)
            style = ' style="text-align: right"' if sheet.is_numeric(i) else ""
            set_.append(f"<{tag}{style}>{f'<strong>{text}</strong>' if (row, i) in sheet.bold else text}</{tag}>")
        return "<tr>" + "".join(set_) + "</tr>"

    caption = [f"<caption>{html.escape(sheet.caption)}</caption>"] if sheet.caption else []
    body = [line(row, "td", i) for i, row in enumerate(sheet.rows)]
    head = ["<thead>", line(sheet.headings, "th", None), "</thead>"]
    return "\n".join(["<table>", *caption, *head, "<tbody>", *body, "</tbody>", "</table>"])


def markdown(sheet: Sheet) -> str:
    """A pipe table, and the caption below it."""

    def line(cells: Sequence[str], row: int | None) -> str:
        set_ = [_MARKDOWN.sub(r"\\\1", cell).replace("\n", " ") for cell in cells]
        return "| " + " | ".join(f"**{t}**" if (row, i) in sheet.bold and t else t for i, t in enumerate(set_)) + " |"

    rule = "| " + " | ".join("---:" if sheet.is_numeric(i) else "---" for i in range(len(sheet.headings))) + " |"
    rows = [line(row, i) for i, row in enumerate(sheet.rows)]
    below = ["", _MARKDOWN.sub(r"\\\1", sheet.caption)] if sheet.caption else []
    return "\n".join([line(sheet.headings, None), rule, *rows, *below])


def terminal(sheet: Sheet) -> str:
    """Aligned columns, and the caption below them; what is bold has a star, which a pipe keeps."""
    import textwrap

    from nas.report.tables import render

    rows = [
        {
            heading: f"{cell} *" if (i, j) in sheet.bold else cell
            for j, (heading, cell) in enumerate(zip(sheet.headings, row, strict=True))
        }
        for i, row in enumerate(sheet.rows)
    ]
    below = textwrap.fill(sheet.caption.replace("in bold", "marked *"), 100, break_on_hyphens=False)
    return "\n\n".join(filter(None, [render(rows, "table", columns=sheet.headings), below]))


def written(sheet: Sheet, format: str) -> str:
    """Set the sheet: `table`, `md`, `latex` or `html`."""
    writers = {"table": terminal, "md": markdown, "latex": latex, "html": html_table}
    return writers[format](sheet)
