import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.cli import main
from nas.store import Store

Make = Callable[..., Any]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], filled: Store, tmp_path: Path) -> Make:
    """`nas report`, in this process, on the filled store, in a folder of its own."""
    monkeypatch.setenv("NAS_STORE", filled.url)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas", "report", *words])
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return int(exit.value.code or 0), captured.out, captured.err

    return run


def test_a_page_and_its_pictures_are_written(report: Make, tmp_path: Path) -> None:
    code, out, err = report("camvid", "-o", "report.html", "--png", "figures")

    assert (code, out) == (0, "")
    assert err.splitlines()[0] == "Written to report.html"
    assert "figures/front.png" in err
    assert (tmp_path / "figures" / "front.png").stat().st_size > 5_000
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<title>camvid</title>" in text
    # The store need not be named again where the environment names it.
    assert '"after":""' in text


def test_the_page_is_called_after_its_study_and_its_commands_name_the_store(report: Make, filled: Store) -> None:
    filled.create_study("a/b", space="", objectives={"miou": "max"}, budget={}, seed=0)

    assert report("a/b", "--store", filled.url)[2] == "Written to a_b.html\n"
    assert f'"after":" --store {filled.url}"' in Path("a_b.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["camvdi"], "Did you mean 'camvid'"),
        (["camvid", "-o", "absent/report.html"], "a file that can be written"),
        (["camvid", "--png", "nas.db/png"], "a folder that can be written"),
        (["camvid", "--store", "absent.db"], "nas sweep"),
    ],
)
def test_mistakes_get_one_message_and_exit_2(report: Make, words: list[str], says: str) -> None:
    Path("nas.db").touch()

    code, out, err = report(*words)

    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


def test_the_command_line_starts_without_what_draws() -> None:
    code = "import sys, nas.cli; print(sorted({'torch', 'plotly', 'matplotlib', 'moocore'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
