"""Judge a network in training after each epoch, as `training.evaluation` says."""

from __future__ import annotations

import torch
from torch import nn

from blocks.errors import BlockError, RunError, law
from runners.data import DataInfo, DataSet
from runners.data.batches import Truths, plain_batches, single_samples
from runners.data.contract import Split
from runners.data.unreadable import Unreadable
from runners.distributed import ALONE, World
from runners.evaluate import Scores, evaluate, evaluate_samples
from runners.inference import Inference, classified
from runners.training import Training


def need_evaluation(info: DataInfo, training: Training) -> None:
    """Raise RunError where samples differ in size, and are to be judged in batches of one size."""
    if info.varies and training.evaluation == "resized":
        got = {"evaluation": training.evaluation}
        remedy = "Write training.evaluation: whole"
        raise RunError(law("training.evaluation", "whole or sliding, as samples differ in size", got, remedy))


class Judging:
    """The validation images, and how a network is judged on them.

    Args:
        data: the data set, whose files hold the labels at their original size.
        held: its validation images as training has them, in memory perhaps.
        training: the recipe's options.
        batch: images at once, where all have one size. [count]
        loaders: processes that load them; 0 loads in this one. [count]
        pin: load into memory that a GPU copies from faster.
        subject: who tells of images that cannot be read.
        world: the processes that judge it together, each on its share.
    """

    def __init__(
        self,
        data: DataSet,
        held: Split,
        training: Training,
        *,
        batch: int,
        loaders: int,
        pin: bool,
        subject: str = "Evaluation:",
        world: World = ALONE,
    ) -> None:
        need_evaluation(data.info, training)
        self._info, self._world = data.info, world
        self._how: Inference | None = None
        if training.evaluation == "resized":
            self._samples = plain_batches(held, batch, loaders=loaders, pin=pin, subject=subject, world=world)
            return
        self._how = Inference(sliding=training.evaluation == "sliding")
        # Windows slide over what keeps its proportions: stretched images do not, those on disk do.
        original = self._how.sliding and not data.info.varies
        self._truths = Truths(held, data.split("val"), original=original)
        self._samples = single_samples(self._truths, loaders=loaders, pin=pin, subject=subject, world=world)

    def __call__(
        self, network: nn.Module, *, device: torch.device, memory_format: torch.memory_format = torch.contiguous_format
    ) -> Scores:
        """Judge a network by one confusion matrix; it is in eval mode afterwards."""
        if self._how is None:
            return evaluate(
                network,
                self._samples,
                classes=self._info.classes,
                device=device,
                memory_format=memory_format,
                world=self._world,
            )
        return evaluate_samples(network, self._samples, self._info, self._how, device=device, world=self._world)

    @property
    def unreadable(self) -> Unreadable:
        """The images that could not be read so far, and were left out."""
        return self._samples.unreadable

    def rehearse(self, network: nn.Module, *, device: torch.device) -> None:
        """Predict one image, where they differ in size, before an epoch is spent on a network that cannot.

        Raises:
            BlockError: the network takes images of one size alone.
        """
        if self._how is None or self._how.sliding or not self._info.varies:
            return
        image, label = self._truths[0]
        shape, to = (image.shape[-2], image.shape[-1]), (label.shape[0], label.shape[1])
        pixels = image.to(device).float().div_(255)
        try:
            classified(network.eval(), pixels, size=self._info.size, to=to, how=self._how, shape=shape)
        except BlockError as error:
            got = {"evaluation": "whole", "error": str(error)}
            needs, remedy = "a network that takes images of any size", "Write training.evaluation: sliding"
            raise BlockError(law("training.evaluation", needs, got, remedy)) from error
