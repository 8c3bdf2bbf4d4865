"""What torch is told for one trial, and what is left of it afterwards."""

import functools
import os

import pytest
import torch

from blocks.errors import BlockError, RunError
from blocks.network import Supervised
from runners.failure import failure
from runners.modes import modes
from runners.optimise import Fit
from runners.training import Training

DETERMINISTIC = Training(deterministic=True)


def flags():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


SET = (True, False, True, False, ":4096:8")


def without_order(supervised, images, labels):
    """An operation that has no deterministic form, even on a CPU."""
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    return {"main": supervised.network(images).mean()}


@pytest.fixture
def eager(monkeypatch):
    """The real tracing and guarding of `torch.compile`, without the minutes that code generation takes."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


def test_a_deterministic_trial_has_the_flags_and_leaves_none(proposal, carry_out, work, numbers):
    before, inside = flags(), []
    epochs, _ = carry_out(proposal(0, deterministic=True), work, then=lambda _: inside.append(flags()))
    assert inside == [SET, SET]
    assert flags() == before
    plain, _ = carry_out(proposal(1), work)
    assert numbers(plain) == numbers(epochs)  # on a CPU nothing was in any other order


def test_the_flags_are_restored_where_a_trial_was_stopped(proposal, carry_out, work):
    before = flags()
    carry_out(proposal(deterministic=True), work, until=1)
    assert flags() == before


def test_an_operation_without_a_deterministic_form_fails_the_trial_by_name(proposal, carry_out, work, monkeypatch):
    monkeypatch.setattr(Supervised, "forward", without_order)
    before = flags()
    with pytest.raises(BlockError, match=r"training\.deterministic needs .*operation='put_'") as error:
        carry_out(proposal(deterministic=True), work)
    assert flags() == before
    failed = failure(error.value)
    assert not failed.hopeless
    assert "decoded" in failed.log or failed.log == ""
    carry_out(proposal(1), work)  # nobody asked for it here


def test_what_a_person_has_set_stays(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with modes(DETERMINISTIC):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_other_errors_pass_as_they_are():
    before = flags()
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"), modes(DETERMINISTIC):
        raise RuntimeError("mat1 and mat2 do not fit")
    assert flags() == before


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_compiled_training_keeps_weights_under_their_own_names(proposal, carry_out, work, numbers, ema):
    plain, _ = carry_out(proposal(0, ema=ema), work)
    compiled, _ = carry_out(proposal(1, ema=ema, compile=True), work)
    assert numbers(compiled) == numbers(plain)
    assert "compiled in " in compiled[0].log
    states = [torch.load(work.checkpoint(trial), weights_only=True)["fit"] for trial in (0, 1)]
    for part in ("supervised", "average") if ema else ("supervised",):
        ours, theirs = (state[part] for state in states)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_a_worker_compiles_its_second_network_like_its_first(proposal, carry_out, work):
    """Torch keeps what it compiled with the source, and in time compiles no further network of that source."""
    limits = torch._dynamo.config.patch(recompile_limit=3, fail_on_recompile_limit_hit=True)
    with limits:
        for trial, model in enumerate(("test_resnet", "test_efficientnet", "test_resnet", "test_efficientnet")):
            epochs, _ = carry_out(proposal(trial, model=model, compile=True, epochs=1), work)
            assert "compiled in " in epochs[0].log


def test_a_network_that_does_not_compile_has_failed():
    from torch._dynamo.exc import BackendCompilerFailed

    def backend(*_):
        raise AssertionError("a backend")

    with pytest.raises(BlockError, match=r"a network that compiles.*no such operator"), modes(Training(compile=True)):
        raise BackendCompilerFailed(backend, RuntimeError("no such operator"), None)


def test_a_machine_without_a_compiler_is_beyond_hope():
    from torch._dynamo.exc import BackendCompilerFailed
    from torch._inductor.exc import InvalidCxxCompiler

    def backend(*_):
        raise AssertionError("a backend")

    with pytest.raises(RunError, match="a compiler on this machine") as error, modes(Training(compile=True)):
        raise BackendCompilerFailed(backend, InvalidCxxCompiler(), None)
    assert failure(error.value).hopeless


@pytest.mark.slow
def test_real_code_is_made_and_trains(proposal, carry_out, work, numbers):
    """Inductor, with the averaged network judged; the second epoch compiles nothing."""
    data = {"epochs": 2, "ema": 0.5, "batch": 2}
    epochs, _ = carry_out(proposal(0, compile=True, **data), work)
    plain, _ = carry_out(proposal(1, **data), work)
    assert "compiled in " in epochs[0].log
    assert "compiled" not in epochs[1].log
    # Compiled code rounds differently, and an epoch of steps adds that up.
    assert epochs[0].loss == pytest.approx(plain[0].loss, rel=1e-2)
    state = torch.load(work.checkpoint(0), weights_only=True)["fit"]
    assert not [name for part in ("supervised", "average") for name in state[part] if "_orig_mod" in name]


@pytest.mark.usefixtures("eager")
def test_what_is_measured_is_the_network_itself(proposal):
    """Latency and cost are of the network that others build from the checkpoint: not of compiled code."""
    from blocks.network import Network

    protocol = proposal(compile=True).protocol
    network = Network(proposal().architecture, size=protocol.size, classes=protocol.classes)
    fit = Fit(Supervised(network), Training(compile=True), torch.device("cpu"))
    assert type(fit.supervised.network) is Network
    assert fit.judged is not network
    assert fit.state()["supervised"].keys() == Supervised(network).state_dict().keys()
