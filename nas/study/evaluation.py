"""Judge trained networks on a split that no search has seen, and record that apart from the search's own figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from blocks.errors import BlockError, DataError, QueryError, RunError, law
from nas.analysis.fronts import FINAL, front
from nas.store import Store
from nas.study.trained import Trained, checkpoint_of, data_of, trained
from runners.data.contract import DataSet, FromFiles, SplitName, opened
from runners.evaluate import evaluate_split
from runners.inference import Inference

Shown = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be found of a network.

    Args:
        split: that it is judged on.
        how: whole images or windows, flips, scales.
        folder: where checkpoints lie.
        device: to run on.
        root: where the data lie; empty for what the space of the study says.
    """

    split: SplitName
    how: Inference
    folder: Path
    device: torch.device
    root: str = ""


def front_numbers(store: Store, study: str) -> list[int]:
    """The numbers of the trials on the front of a study, by its own objectives.

    Raises:
        QueryError: there is no such study, or no trial of it has finished.
    """
    found = store.find_study(study)
    best = front(store.trials(found["id"], states=FINAL), found["objectives"])
    if not best:
        got = {"finished": 0}
        raise QueryError(
            law(f"The front of {study}", "a trial that finished", got, "Go on with it: nas sweep --resume")
        )
    return [row["number"] for row in best]


def evaluate(
    store: Store, study: str, numbers: Sequence[int], question: Question, *, shown: Shown = iter
) -> Iterator[dict[str, Any]]:
    """Judge trials one by one, record each, and yield a row for it.

    Args:
        store: where they are recorded.
        study: the study's name.
        numbers: of the trials.
        question: split, manner, device.
        shown: draws the progress over a split's samples, for whoever watches.

    Raises:
        QueryError: there is no such study or trial.
        RunError: a checkpoint is missing, or the network does not take these sizes.
        DataError: the data set does not have the split, or is wrong.
    """
    # All that can be missing is missed before the first hour is spent.
    for number in numbers:
        checkpoint_of(store, study, number, question.folder)
    for number in numbers:
        found = trained(store, study, number, folder=question.folder, device=question.device)
        yield _judged(store, found, data_of(store, found, question.root), question, shown)


def _judged(store: Store, found: Trained, data: DataSet, question: Question, shown: Shown) -> dict[str, Any]:
    split = opened(data, question.split, f"Data set {found.protocol.data.name}")
    if data.info.names != found.info.names:
        got = {"found": len(data.info.names), "trained": len(found.info.names)}
        raise DataError(law("An evaluation", "the classes that the network was trained on", got, "Give its data"))
    began = time.perf_counter()
    try:
        scores = evaluate_split(found.network, split, data.info, question.how, device=question.device, shown=shown)
    except BlockError as error:
        # Some backbones are built for one size; a window always has it.
        told = {"trial": found.row["number"], "scales": list(question.how.scales), "error": str(error)}
        needs = "a network that takes images of any size"
        subject = "Whole images of any size" if data.info.varies else "Several scales"
        remedy = "Add --sliding" if data.info.varies else "Add --sliding, or leave --multi-scale out"
        raise RunError(law(subject, needs, told, remedy)) from error
    settings: dict[str, Any] = {
        **asdict(question.how),
        "size": list(found.protocol.size),
        **({name: dict(found.protocol.data.options)[name] for name in ("short", "long")} if data.info.varies else {}),
        "at": "original" if isinstance(split, FromFiles) else "size",
        "epoch": found.epoch,
        "device": str(question.device),
    }
    facts = {
        "split": question.split,
        "samples": len(split),
        "settings": settings,
        "miou": scores.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "class_iou": list(scores.class_iou),
        "seconds": time.perf_counter() - began,
    }
    store.record_evaluation(found.row["id"], facts)
    return {
        "number": found.row["number"],
        **{name: facts[name] for name in ("split", "samples", "miou", "pixel_accuracy")},
        "search_miou": found.row["miou"],
        "macs": found.row["macs"],
        "params": found.row["params"],
        "inference": question.how.words,
        "epoch": found.epoch,
        "seconds": facts["seconds"],
        "class_iou": facts["class_iou"],
    }
