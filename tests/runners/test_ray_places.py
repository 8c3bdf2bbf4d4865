"""What a place carries through Ray: one network after another, whatever becomes of each of them."""

from __future__ import annotations

import dataclasses
import os

import pytest

from blocks.architecture import Component
from runners.protocol import Epoch, Failed, Finished

DATA = Component.of("shapes", {"size": (32, 32), "train": 8, "val": 4})


class Listed:
    """Hands a list out and remembers what becomes of it."""

    def __init__(self, proposals):
        self._left = list(proposals)
        self.begun, self.scores, self.outcomes, self.retries = [], {}, {}, []

    def propose(self):
        return self._left.pop(0) if self._left else None

    def over(self):
        return False

    def started(self, trial, *, host, device):
        self.begun.append(trial)

    def epoch(self, trial, epoch):
        self.scores.setdefault(trial, []).append(epoch.miou)

    def retried(self, trial, reason):
        self.retries.append(trial)

    def ended(self, trial, outcome):
        assert trial not in self.outcomes
        self.outcomes[trial] = outcome


def eventful(proposal, work, data, device):
    """Trial 1 fails in its second epoch, and trial 2 takes its process with it, once; scores tell whose they are."""
    once = work.folder.parent / "died"
    for number in range(proposal.done + 1, proposal.epochs + 1):
        if proposal.trial == 1 and number == 2:
            raise ValueError("no such shape")
        if proposal.trial == 2 and not once.exists():
            once.touch()
            os._exit(1)
        facts = {"loss": 1.0, "pixel_accuracy": 0.5, "learning_rate": 0.1, "seconds": 0.0}
        score = proposal.trial / 10 + number / 100
        yield Epoch(epoch=number, miou=score, class_iou=(), train_memory_bytes=1, **facts)
    return Finished()


@pytest.mark.ray
@pytest.mark.slow
def test_one_trial_of_tunes_carries_all_until_its_worker_dies(proposal, work, monkeypatch):
    from runners.ray_tune import RayRunner
    from runners.ray_tune.hooks import Watch

    set_up, start = [], Watch.on_trial_start

    def counted(self, iteration, trials, trial):
        set_up.append(trial.trial_id)
        start(self, iteration, trials, trial)

    monkeypatch.setattr(Watch, "on_trial_start", counted)
    proposer = Listed([proposal(trial, epochs=2) for trial in range(5)])
    assert RayRunner(dataclasses.replace(work, concurrent=1), DATA, recipe=eventful).run(proposer) is True
    assert len(set_up) == 2
    assert proposer.begun == [0, 1, 2, 2, 3, 4]
    assert proposer.retries == [2]
    assert proposer.scores == {
        trial: pytest.approx([trial / 10 + 0.01, trial / 10 + 0.02][: 1 if trial == 1 else 2]) for trial in range(5)
    }
    assert isinstance(proposer.outcomes[1], Failed)
    assert [trial for trial, outcome in proposer.outcomes.items() if outcome == Finished()] == [0, 2, 3, 4]
