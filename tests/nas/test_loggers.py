"""Loggers: TensorBoard, MLflow and Weights & Biases hear what the store recorded, and never end a sweep."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from blocks.architecture import Architecture
from blocks.errors import RunError
from nas import Space, Study, sweep
from nas.study.loggers import Logbook, Logged, loggers
from nas.study.loggers.logbook import Run
from runners.protocol import Epoch, Failed, Finished, Outcome, Paused, Proposal, Protocol

SPACE = """
name: small
data: {shapes: {size: [32, 32], train: 16, val: 8}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {choice: [none, psa]}
  align: {bilinear: {channels: 16}}
training: {epochs: 2, batch: 8, learning_rate: 1.0e-3}
search: {sampler: grid, trials: 2, early_stopping: none}
"""


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Study]:
    def run(text: str = SPACE, **more: object) -> Study:
        options = {"runner": "local", "store": str(tmp_path / "nas.db"), "folder": tmp_path / "runs"} | more
        return sweep(Space.loads(text), **options)  # type: ignore[arg-type]

    return run


def recorded(study: Study) -> dict[int, list[tuple[float, float, float]]]:
    """Per trial the curve that the store has: loss, mIoU, learning rate."""
    return {
        number: [(r["loss"], r["miou"], r["learning_rate"]) for r in study.epochs(number).to_dict("records")]
        for number in (0, 1)
    }


@pytest.mark.slow
@needs("tensorboard")
def test_tensorboard_shows_what_was_recorded(run: Callable[..., Study], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    study = run(tensorboard=tmp_path / "curves")

    for number, curve in recorded(study).items():
        events = EventAccumulator(str(tmp_path / "curves" / "small" / f"{number:06d}"))
        events.Reload()
        for place, name in enumerate(("loss", "miou", "learning_rate")):
            scalars = events.Scalars(name)
            assert [scalar.step for scalar in scalars] == [1, 2]
            assert [scalar.value for scalar in scalars] == pytest.approx([epoch[place] for epoch in curve])
        # The table of hyperparameters: the choices in, the final figures out.
        assert events.Scalars("final/miou")[-1].value == pytest.approx(curve[-1][1])
        assert events.Scalars("final/macs")[-1].value == pytest.approx(study.trials()["macs"][number])
        hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        assert b"context" in hparams and b"training.learning_rate" in hparams


@pytest.mark.slow
@needs("mlflow")
def test_mlflow_shows_what_was_recorded(
    run: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    study = run(log=["mlflow"])

    client = MlflowClient()
    experiment = client.get_experiment_by_name("small")
    runs = {int(r.data.tags["nas_trial"]): r for r in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == [0, 1]
    for number, curve in recorded(study).items():
        history = client.get_metric_history(runs[number].info.run_id, "miou")
        assert [(m.step, m.value) for m in history] == [(i, pytest.approx(e[1])) for i, e in enumerate(curve, 1)]
        assert runs[number].data.params["context"] == study.trials()["context"][number]
        assert (runs[number].info.status, runs[number].data.tags["nas_outcome"]) == ("FINISHED", "Finished")


@pytest.mark.slow
@needs("wandb")
def test_weights_and_biases_works_offline(
    run: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="nas"):
        study = run(log=["wandb"])

    assert study.counts() == {"finished": 2}
    assert "does not log" not in caplog.text
    written = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert [file.name for file in written] == ["run-small-0.wandb", "run-small-1.wandb"]
    assert all(b"pixel_accuracy" in file.read_bytes() for file in written)


@needs("wandb")
def test_weights_and_biases_needs_an_account_before_anything_is_trained(
    run: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(RunError, match=r"--log wandb needs an account.*WANDB_MODE=offline"):
        run(log=["wandb"])
    assert not (tmp_path / "nas.db").exists()


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"--log mlflow needs the package mlflow.*pip install 'segnas\[mlflow\]'"):
        loggers("small", ["mlflow"], None)
    with pytest.raises(RunError, match=r"--tensorboard needs .*pip install 'segnas\[tensorboard\]'"):
        loggers("small", [], "curves")


def test_an_unknown_logger_is_refused_with_the_nearest() -> None:
    with pytest.raises(RunError, match="Did you mean 'wandb'"):
        loggers("small", ["wandbb"], None)


class Heard:
    """A logger that writes down what it hears, and fails when told to."""

    name = "heard"

    def __init__(self, fails: str = "") -> None:
        self.words: list[object] = []
        self.fails = fails

    def begin(self, run: Run) -> None:
        self._hear("begin", run.trial)

    def epoch(self, trial: int, epoch: int, figures: Mapping[str, float]) -> None:
        self._hear("epoch", trial, epoch, dict(figures))

    def end(self, run: Run, outcome: str, figures: Mapping[str, float]) -> None:
        self._hear("end", run.trial, outcome, dict(figures))

    def close(self) -> None:
        self._hear("close")

    def _hear(self, what: str, *more: object) -> None:
        self.words.append((what, *more))
        if what == self.fails:
            raise OSError("no network")


class Inner:
    """A proposer of one trial."""

    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal
        self.outcomes: list[Outcome] = []

    def propose(self) -> Proposal | None:
        return self.proposal

    def over(self) -> bool:
        return False

    def left_over(self) -> Proposal | None:
        return None

    def again(self, trial: int) -> Proposal | None:
        return self.proposal

    def started(self, trial: int, *, host: str, device: str) -> None:
        pass

    def epoch(self, trial: int, epoch: Epoch) -> None:
        pass

    def retried(self, trial: int, reason: str) -> None:
        pass

    def ended(self, trial: int, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def inner(architecture_of: Callable[..., Architecture], protocol_of: Callable[..., Protocol]) -> Inner:
    return Inner(Proposal(trial=7, architecture=architecture_of("ppm"), protocol=protocol_of(), seed=3))


def test_a_paused_trial_goes_on_in_its_run(inner: Inner, epoch_of: Callable[..., Epoch]) -> None:
    heard = Heard()
    logbook = Logbook([heard])
    logged = Logged(inner, logbook)
    logged.propose()
    logged.epoch(7, epoch_of(1, 0.5))
    logged.ended(7, Paused(rung=1, missing=0.5))
    logged.again(7)
    logged.epoch(7, epoch_of(2, float("nan")))
    logged.ended(7, Finished())
    logbook.close()

    kinds = [word[:2] for word in heard.words]
    assert kinds == [("begin", 7), ("epoch", 7), ("begin", 7), ("epoch", 7), ("end", 7), ("close",)]
    assert heard.words[1][3]["miou"] == 0.5
    assert "miou" not in heard.words[3][3]  # what is not finite is no figure
    assert heard.words[4][2] == "Finished"
    assert len(inner.outcomes) == 2


def test_choices_are_plain_values(inner: Inner) -> None:
    run = Run.of(inner.proposal)

    assert run.settings["context"] == "ppm"
    assert run.settings["context.ppm.bins"] == "[1,2,3,6]"
    assert (run.settings["training.learning_rate"], run.settings["seed"]) == (1e-3, 3)
    assert all(isinstance(value, bool | int | float | str) for value in run.settings.values())


@pytest.mark.parametrize("fails", ["begin", "epoch", "end", "close"])
def test_a_logger_that_fails_is_warned_of_once_and_the_others_go_on(
    inner: Inner, epoch_of: Callable[..., Epoch], caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    broken, sound = Heard(fails), Heard()
    with caplog.at_level(logging.WARNING, logger="nas"):
        logbook = Logbook([broken, sound])
        logged = Logged(inner, logbook)
        for _ in range(2):
            logged.propose()
            logged.epoch(7, epoch_of(1, 0.5))
            logged.ended(7, Failed("out of memory"))
        logbook.close()

    assert len(inner.outcomes) == 2
    assert [word[0] for word in sound.words] == ["begin", "epoch", "end"] * 2 + ["close"]
    assert broken.words[-1][0] == fails
    assert [record.message for record in caplog.records] == ["heard does not log any more: OSError: no network"]


@needs("tensorboard")
def test_a_sweep_goes_on_when_its_logger_cannot_write(
    run: Callable[..., Study], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "curves").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, logger="nas"):
        study = run(tensorboard=tmp_path / "curves")

    assert study.counts() == {"finished": 2}
    assert caplog.text.count("TensorBoard does not log any more") == 1
