"""What a person sees while a sweep runs."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from blocks.architecture import Architecture, Component
from nas.propose import Progress
from nas.report.live import _picture, shown
from runners.protocol import Epoch, Finished, Proposal, Rejected, Stopped

GOALS = {"miou": "max", "macs": "min"}


def proposal(trial, protocol_of):
    backbone = Component.of("timm", {"model": "resnet18"})
    architecture = Architecture(backbone=backbone, context=Component("ppm"))
    return Proposal(trial=trial, architecture=architecture, protocol=protocol_of(), seed=0)


def epoch(number, miou):
    figures = {"loss": 1.0, "pixel_accuracy": 0.5, "learning_rate": 0.1, "seconds": 2.0, "train_memory_bytes": 1}
    return Epoch(epoch=number, miou=miou, class_iou=(), **figures)


def some_progress(protocol_of):
    progress = Progress(10)
    for trial in range(3):
        progress.start(proposal(trial, protocol_of))
    progress.epoch(0, epoch(1, 0.25))
    progress.end(0, "finished", Finished())
    progress.result(0, {"miou": 0.25, "macs": 1.5e9})
    progress.epoch(1, epoch(1, 0.125))
    progress.end(1, "stopped", Stopped(rung=1, missing=0.5))
    progress.epoch(2, epoch(2, 0.375))
    progress.end(3, "rejected", Rejected("macs", 3e9, 2e9))
    return progress


def test_the_picture_shows_what_runs_what_is_best_and_what_is_left(protocol_of):
    console = Console(width=120, record=True, file=None)
    with console.capture() as captured:
        console.print(_picture(some_progress(protocol_of), GOALS, ["the last line"]))
    text = captured.get()
    assert "2/10 done, 1 running, 1 finished, 1 stopped, 1 rejected" in text
    assert "left" in text
    assert "trial 2  2/3    0.3750  resnet18 + ppm + last + linear" in text
    assert "trial 0  0.2500  1.50 G" in text
    assert "the last line" in text


def test_without_a_terminal_each_event_is_a_line(protocol_of, capsys):
    progress = Progress(10)
    with shown(progress, GOALS, plain=True):
        progress.start(proposal(4, protocol_of))
        progress.epoch(4, epoch(1, 0.25))
        progress.end(4, "stopped", Stopped(rung=1, missing=0.5))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("trial 4: epoch 1/3, mIoU 0.2500, 2.0 s  [0/10 done, 1 running]")
    assert lines[1].startswith("trial 4: stopped, mIoU 0.2500 after epoch 1  [1/10 done, 0 running, 1 stopped, about")


def test_a_resumed_sweep_estimates_from_its_own_pace_alone():
    progress = Progress(10)
    progress.carry(Counter(finished=8))
    assert progress.done == 8
    assert progress.seconds_left is None
