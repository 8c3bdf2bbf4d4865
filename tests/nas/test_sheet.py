"""Tables in Markdown, LaTeX and HTML: nothing in a cell is a command."""

from __future__ import annotations

import html.parser
import shutil
import subprocess
import unicodedata

import pytest

from nas.report.sheet import Sheet, latex, latex_text, written
from nas.report.tables import render

NASTY = [
    r"\input{/etc/passwd} $x^2_1$ 50% & more # ~ {a} \\ \end{tabular}",
    '<script>alert("1")</script> | [link](javascript:x) **bold** `code`',
    "[0.1, 0.2] --- 'quoted' ``q'' ?` !` <<a>> \N{MINUS SIGN}3 ± 1 → 2 \N{MULTIPLICATION SIGN} 3 ≥ 1",
    "naïve Zoë Ångström Łódź øæß čšž 语义 \N{SNOWMAN} \n new line \t tab \x00 null",
    "".join(map(chr, range(0xA0, 0x250))),
    "".join(map(chr, range(0x20, 0x7F))),
]


@pytest.fixture
def sheet():
    rows = [(text, "1.5 ± 0.1 (3)", "") for text in NASTY]
    caption = "Caption: " + " ".join(NASTY)
    bold = frozenset({(0, 0), (1, 1), (2, 2), (3, 0)})
    return Sheet(
        name="a_b%", headings=("[arm]", "mIoU [%]", ""), rows=rows, numeric=(False, True), bold=bold, caption=caption
    )


def test_latex_compiles_with_booktabs_alone(sheet, tmp_path):
    compiler = next(filter(None, map(shutil.which, ("pdflatex", "tectonic"))), None)
    if compiler is None:
        pytest.skip("neither pdflatex nor tectonic is installed")
    text = (
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + latex(sheet) + "\n\\end{document}\n"
    )
    (tmp_path / "table.tex").write_text(text)
    options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"] if "pdflatex" in compiler else []
    done = subprocess.run([compiler, *options, "table.tex"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 1000
    log = (tmp_path / "table.log").read_text(errors="replace")
    assert "Missing character" not in log
    assert "LaTeX Font Warning" not in log


def test_latex_has_the_rules_of_booktabs_and_one_line_a_row(sheet):
    lines = latex(sheet).splitlines()
    assert [line.strip() for line in lines if line.strip().endswith("rule")] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert sum(line.endswith(r"\\") for line in lines) == len(NASTY) + 1
    assert r"\begin{tabular}{lrl}" in latex(sheet)
    assert r"\label{tab:a-b}" in latex(sheet)


def test_what_latexs_fonts_lack_is_named():
    assert latex_text("语") == r"\texttt{U+8BED}"
    assert latex_text("--") == "-{}-"
    assert latex_text("a_b ± é") == r"a\_b $\pm$ é"


class _Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.data = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.data.append(data)


def test_html_has_no_tag_but_the_tables_own(sheet):
    reader = _Tags()
    reader.feed(written(sheet, "html"))
    assert set(reader.tags) == {"table", "caption", "thead", "tbody", "tr", "th", "td", "strong"}
    assert NASTY[1] in reader.data
    assert reader.tags.count("strong") == 4


def test_markdown_keeps_one_row_a_row_and_no_markup(sheet):
    lines = written(sheet, "md").splitlines()
    assert lines[1] == "| --- | ---: | --- |"
    assert len([line for line in lines[2:8] if line.startswith("| ")]) == len(NASTY)
    assert "<script" not in written(sheet, "md").replace(r"\<", "")
    assert "| **1.5 ± 0.1 (3)** |" in lines[3]


def test_a_terminal_marks_what_is_bold_by_a_star(sheet):
    assert "1.5 ± 0.1 (3) *" in written(sheet, "table")


def test_other_verbs_rows_are_set_too():
    rows = [{"number": 1, "context": "a_b", "macs": 1_230_000_000}, {"number": 2, "context": None, "macs": None}]
    assert r"  {}1 & a\_b & 1.23 G \\" in render(rows, "latex", title="front & co")
    assert r"\caption{front \& co}" in render(rows, "latex", title="front & co")
    assert "<td>a_b</td>" in render(rows, "html")


def test_the_accents_that_are_kept_are_letters():
    kept = [c for c in map(chr, range(0xA0, 0x250)) if latex_text(c) == c]
    assert all(unicodedata.category(c)[0] == "L" for c in kept)
    assert {"é", "ü", "ß", "ø", "č"} <= set(kept)
