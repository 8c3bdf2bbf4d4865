"""`optuna-dashboard` opens the store: it starts, and its API has the study."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nas import Space, sweep

DASHBOARD = shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent)) or shutil.which("optuna-dashboard")
SPACE = """
name: small
data: {shapes: {size: [32, 32], train: 16, val: 8}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {choice: [none, psa]}
  align: {bilinear: {channels: 16}}
training: {epochs: 1, batch: 8}
search: {sampler: grid, trials: 2, early_stopping: none}
"""


@contextmanager
def dashboard(url: str, log: Path) -> Iterator[str]:
    """The dashboard on a free port of this machine alone; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(DASHBOARD), url, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def asked(address: str, log: Path) -> Any:
    """What the API answers, once it is up."""
    for _ in range(600):
        try:
            # Loopback needs no proxy, whatever the environment says.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(address, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"The dashboard never answered:\n{log.read_text()}")


@pytest.mark.slow
@pytest.mark.skipif(DASHBOARD is None, reason="optuna-dashboard is not installed")
def test_the_dashboard_lists_the_study_and_its_trials(tmp_path: Path) -> None:
    study = sweep(Space.loads(SPACE), runner="local", store=str(tmp_path / "nas.db"), folder=tmp_path / "runs")
    log = tmp_path / "dashboard.log"
    with dashboard(study.url, log) as address:
        (listed,) = asked(f"{address}/api/studies", log)["study_summaries"]
        assert listed["study_name"] == "small"
        assert listed["directions"] == ["maximize", "minimize"]
        shown = asked(f"{address}/api/studies/{listed['study_id']}", log)["trials"]
    trials = study.trials()
    assert [trial["state"] for trial in shown] == ["Complete", "Complete"]
    # Its figures are ours, and each says which trial it is.
    found = {
        int(attribute["value"]): [float(value) for value in trial["values"]]
        for trial in shown
        for attribute in trial["user_attrs"]
        if attribute["key"] == "trial"
    }
    ours = {row["number"]: pytest.approx([row["miou"], row["macs"]]) for row in trials.to_dict("records")}
    assert found == ours
