import csv
import io
import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.errors import QueryError, StoreError
from nas.report.picture import draw, write_html
from nas.report.tables import engineering, human, render

ROWS = [
    {"number": 1, "miou": 0.31713, "macs": 1_234_567_890, "activation_bytes": 12_345, "context": "[red]ppm", "x": None},
    {"number": 2, "miou": math.nan, "context": 'a|b,"c"\nd', "y": True},
]


def test_a_table_is_rounded_for_people() -> None:
    lines = render(ROWS, "table", title="Two trials").splitlines()

    assert lines[0] == "Two trials"
    assert lines[1].split() == ["number", "miou", "macs", "activation_bytes", "context", "x", "y"]
    assert lines[3].split() == ["1", "0.3171", "1.23", "G", "12.3", "kB", "[red]ppm"]


def test_json_is_a_list_of_flat_objects_with_raw_values() -> None:
    first, second = json.loads(render(ROWS, "json"))

    assert first == {**ROWS[0], "y": None}
    assert (second["miou"], second["macs"], second["y"]) == (None, None, True)
    assert render([], "json") == "[]"
    nested = {"bins": (1, 2), "when": datetime(2026, 11, 21, 8, tzinfo=UTC), "answers": {"a": (1,)}}
    (row,) = json.loads(render([nested], "json"))
    assert row == {"bins": "[1, 2]", "when": "2026-11-21T08:00:00+00:00", "answers": '{"a": [1]}'}


def test_csv_survives_a_round_trip() -> None:
    back = list(csv.DictReader(io.StringIO(render(ROWS, "csv"))))

    assert (back[0]["macs"], back[0]["x"]) == ("1234567890", "")
    assert (back[1]["context"], back[1]["miou"]) == ('a|b,"c"\nd', "")


def test_markdown_keeps_its_columns() -> None:
    lines = render(ROWS, "md", columns=["number", "context", "macs"]).splitlines()

    assert lines == [
        "| number | context | macs |",
        "| ---: | --- | ---: |",
        "| 1 | [red]ppm | 1.23 G |",
        '| 2 | a\\|b,"c" d |  |',
    ]


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    with pytest.raises(QueryError, match="Did you mean 'json'"):
        render(ROWS, "jsn")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.4, "999.4"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (1_234_567, "1.23 M"),
        (12_345_678, "12.3 M"),
        (123_456_789, "123 M"),
        (9_996_000, "10.0 M"),
        (-2e9, "-2.00 G"),
        (5e15, "5000 T"),
    ],
)
def test_engineering_units_show_three_digits(value: float, text: str) -> None:
    assert engineering(value) == text


def test_cells_are_read_by_their_unit() -> None:
    assert human("latency_ms", 12.345) == "12.3"
    assert human("learning_rate", 0.00123456) == "0.001235"
    assert human("epochs", 12_345) == "12345"
    assert human("dirty", False) == "no"
    assert human("class_iou", [0.5, None]) == "[0.5, null]"
    assert human("miou", None) == human("miou", math.nan) == ""


def points(*values: tuple[float, float]) -> list[dict[str, float]]:
    return [{"number": n, "macs": x, "miou": y} for n, (x, y) in enumerate(values)]


def test_the_picture_sets_the_front_apart() -> None:
    rows = points((1e8, 0.1), (1e9, 0.3), (2e9, 0.2), (1e10, 0.5))

    lines = draw(rows, [rows[0], rows[1], rows[3]], x="macs", y="miou", width=70, height=16).splitlines()

    assert lines[0] == "mIoU    ● front   · trials"
    canvas = lines[1:-2]
    assert "".join(canvas).count("●") == 3
    assert "".join(canvas).count("·") == 1
    assert lines[-1].strip() == "MACs (logarithmic)"
    assert lines[-2].split() == ["100", "M", "1.00", "G", "10.0", "G"]
    assert all(len(line) <= 70 for line in lines)
    # A decade is as wide as any other: 1e8, 1e9 and 1e10 are evenly spaced.
    columns = sorted(line.index("●") for line in canvas if "●" in line)
    assert abs((columns[2] - columns[1]) - (columns[1] - columns[0])) <= 1


def test_a_narrow_range_is_drawn_linearly() -> None:
    rows = points((1e9, 0.1), (3e9, 0.3))
    assert draw(rows, rows, x="macs", y="miou").splitlines()[-1].strip() == "MACs"


def test_colours_only_where_they_are_wanted() -> None:
    rows = points((1e9, 0.1), (3e9, 0.3))
    assert "\x1b[" in draw(rows, rows[:1], x="macs", y="miou", colour=True)
    assert "\x1b" not in draw(rows, rows[:1], x="macs", y="miou")


@pytest.mark.parametrize("values", [[(1e9, 0.0)], [(0.0, 0.0), (0.0, 0.0)], [(-1.0, 0.3), (1e9, 0.3)]])
def test_degenerate_rows_can_be_drawn(values: list[tuple[float, float]]) -> None:
    assert "●" in draw([], points(*values), x="macs", y="miou")


def test_nothing_to_draw_is_said() -> None:
    rows: list[dict[str, object]] = [{"macs": None, "miou": 0.1}, {"macs": 1e9}]
    assert draw(rows, [], x="macs", y="miou") == "No trial has both MACs and mIoU yet."


def test_the_page_stands_alone_and_escapes_what_it_shows(tmp_path: Path) -> None:
    rows = [{**row, "context": "<img src=x onerror=alert(1)>"} for row in points((1e8, 0.1), (1e10, 0.3))]
    file = tmp_path / "front.html"

    write_html(file, rows, rows[:1], x="macs", y="miou", title="</script><script>alert(1)</script>")

    page = file.read_text(encoding="utf-8")
    assert "Plotly.newPlot" in page
    assert len(page) > 1_000_000  # the library is inside
    assert "src=" not in page.split("<body>")[0]
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "context: " in page
    assert '"type":"log"' in page
    with pytest.raises(StoreError, match="--html"):
        write_html(tmp_path / "absent" / "front.html", rows, rows, x="macs", y="miou", title="")


def test_drawing_libraries_wait_until_they_are_needed() -> None:
    code = "import sys, nas.report.picture; print({'plotly', 'plotext', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
