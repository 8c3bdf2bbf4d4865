"""Train and evaluate one network."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Generator
from contextlib import closing

import torch

from runners.data import DataSet
from runners.device import forget_peak, release
from runners.failure import out_of_memory
from runners.logs import Collected, collecting
from runners.modes import compilation_told, modes
from runners.protocol import Epoch, Finished, Proposal, Rejected, Work
from runners.trial import Trial

_log = logging.getLogger("nas.recipe")

ATTEMPTS = 3
"""A network that runs out of memory so often has failed."""


def train(
    proposal: Proposal, work: Work, data: DataSet, device: torch.device
) -> Generator[Epoch, None, Finished | Rejected]:
    """Train a network and yield what each epoch gave; close the generator to stop early.

    Everything random follows from the proposal's seed and the epoch alone, so that training continued from a
    checkpoint gives the numbers of training in one go. Epochs beyond `proposal.done` that the checkpoint knows already
    are yielded again without training; where the checkpoint is lost, training starts from epoch 1.

    Where the memory does not suffice, training goes on from the last checkpoint with each batch in twice as many
    parts, whose gradients are added up: the optimiser sees the same batch, batch norms see the parts. Every epoch says
    in how many parts its batches were taken.

    Raises:
        Diverged: the loss is not finite.
        DataError: the data are missing, wrong, or not those of the protocol.
        RunError: the device cannot do what the protocol asks, or the disk is full.
        BlockError: the network cannot be built, compiled or made deterministic as asked, or the weights do not fit it.
        torch.OutOfMemoryError: the device's memory does not suffice, nor does it for a quarter of the batch.
    """
    forget_peak(device)
    training, parts, done = proposal.protocol.recipe(), 1, proposal.done
    for attempt in range(1, ATTEMPTS + 1):
        try:
            going_on = dataclasses.replace(proposal, done=done)
            with modes(training), closing(_train(going_on, work, data, device, parts)) as running:
                while True:
                    epoch = next(running)
                    # Never less: halving again what the checkpoint has halved already.
                    parts, done = max(parts, epoch.accumulation), epoch.epoch
                    yield epoch
        except StopIteration as end:
            outcome: Finished | Rejected = end.value
            return outcome
        except Exception as error:
            if attempt == ATTEMPTS or not out_of_memory(error) or not divisible(proposal, 2 * parts):
                raise
            parts *= 2
        finally:
            # Not before the handler above has let go of the traceback, which holds the network's tensors.
            release(device)
    raise AssertionError("the last attempt returns or raises")


def divisible(proposal: Proposal, parts: int) -> bool:
    """Tell whether a batch can be taken in so many parts of two images or more: batch norms fail on one."""
    return proposal.protocol.recipe().batch >= 2 * parts


def _train(
    proposal: Proposal, work: Work, data: DataSet, device: torch.device, parts: int
) -> Generator[Epoch, None, Finished | Rejected]:
    log, training = Collected(), proposal.protocol.recipe()
    with collecting(log):
        if parts > 1:
            _log.warning("out of memory: each batch is taken in %d parts from here on", parts)
        trial = Trial(proposal, work, data, device, parts)
        rejected, measured = trial.measure()
        known = [] if rejected else trial.resume()
    if rejected:
        return rejected
    yield from known[proposal.done :]
    while len(known) < proposal.epochs:
        with collecting(log):
            with compilation_told(training):
                epoch = trial.epoch(known)
            epoch = dataclasses.replace(epoch, **measured, log=log.take())
            known.append(epoch)
            trial.save(known)
        yield epoch
    return Finished()
