import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from blocks.architecture import Architecture, Component, canonical_json, fingerprint
from nas.store import Store, choices_of
from runners.protocol import Epoch, Finished, Interrupted, Outcome, Protocol

FINISHED = Finished()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(str(tmp_path / "nas.db")) as opened:
        yield opened


@pytest.fixture
def study_id(store: Store) -> int:
    return begun(store)


def begun(store: Store, name: str = "camvid") -> int:
    objectives = {"miou": "max", "macs": "min"}
    return store.create_study(name, space=f"name: {name}", objectives=objectives, budget={"macs": 1e10}, seed=0)


def protocol_of(rate: float = 1e-3, epochs: int = 3, size: tuple[int, int] = (120, 160)) -> Protocol:
    return Protocol(
        data=Component.of("shapes", {"size": size}),
        data_fingerprint="0123456789abcdef",
        size=size,
        classes=3,
        image_channels=3,
        training=(("epochs", epochs), ("learning_rate", rate), ("scale", (0.5, 2.0))),
        main=(Component.of("cross_entropy", {"weight": 1.0}), Component.of("dice")),
        coarse=(),
    )


def architecture_of(context: str, model: str = "resnet18", channels: int = 512) -> Architecture:
    options = {"ppm": {"bins": (1, 2, 3, 6), "channels": channels}, "psa": {"mode": "parallel", "gate": True}}
    return Architecture(
        backbone=Component.of("timm", {"model": model}),
        context=Component.of(context, options.get(context, {})),
    )


def epoch_of(number: int, miou: float, log: str = "") -> Epoch:
    return Epoch(
        epoch=number,
        loss=1.0 / number,
        miou=miou,
        pixel_accuracy=0.9,
        class_iou=(miou, None, 0.5),
        learning_rate=1e-3,
        seconds=2.0,
        train_memory_bytes=1000 * number,
        log=log,
    )


@pytest.fixture(name="protocol_of")
def _protocol_of() -> Callable[..., Protocol]:
    return protocol_of


@pytest.fixture(name="architecture_of")
def _architecture_of() -> Callable[..., Architecture]:
    return architecture_of


@pytest.fixture(name="epoch_of")
def _epoch_of() -> Callable[..., Epoch]:
    return epoch_of


def lived(
    store: Store,
    study_id: int,
    *,
    context: str = "none",
    model: str = "resnet18",
    channels: int = 512,
    rate: float = 1e-3,
    size: tuple[int, int] = (120, 160),
    seed: int = 0,
    macs: int = 1_000_000_000,
    mious: Sequence[float] = (0.1, 0.2, 0.3),
    outcome: Outcome | None = FINISHED,
    started: bool = True,
) -> int:
    """Let a trial live its life: proposed, started, an epoch for each mIoU, ended."""
    architecture, protocol = architecture_of(context, model, channels), protocol_of(rate, size=size)
    trial_id = store.propose(
        study_id,
        store.next_number(study_id),
        identity=fingerprint(canonical_json([architecture.fingerprint, protocol.fingerprint, seed])),
        architecture=architecture,
        protocol=protocol,
        seed=seed,
        cost={"params": macs // 100, "macs": macs, "macs_conv": macs - 1, "activation_bytes": 4096},
        answers={"context": context, "context.ppm.bins": (1, 2, 3, 6), "training.learning_rate": rate},
        choices=choices_of(architecture, protocol),
        epochs=3,
    )
    if started:
        store.start(trial_id, "node1", "cpu")
    for number, miou in enumerate(mious, start=1):
        store.epoch(trial_id, epoch_of(number, miou, log=f"epoch {number}\n"))
    if outcome is not None:
        store.end(trial_id, outcome)
    return trial_id


@pytest.fixture
def add() -> Callable[..., int]:
    return lived


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with four trained networks, one in training and one interrupted."""
    file = tmp_path_factory.mktemp("filled") / "nas.db"
    with Store.open(str(file)) as store:
        study = begun(store)
        lived(store, study, context="none", macs=1_000_000_000, mious=(0.10, 0.25, 0.20))
        lived(store, study, context="ppm", macs=2_000_000_000, mious=(0.20, 0.30, 0.40))
        lived(store, study, context="ppm", channels=256, macs=3_000_000_000, mious=(0.20, 0.30, 0.35), rate=1e-2)
        lived(store, study, context="psa", macs=40_000_000_000, mious=(0.30, 0.40, 0.50))
        lived(store, study, context="psa", model="mobilenetv3_small_100", macs=500_000_000, mious=(0.1,), outcome=None)
        lived(store, study, context="aspp", macs=700_000_000, mious=(), outcome=Interrupted())
    return file


@pytest.fixture
def filled(filled_file: Path, tmp_path: Path) -> Iterator[Store]:
    """That study, in a store of the test's own."""
    with Store.open(shutil.copy(filled_file, tmp_path / "filled.db")) as opened:
        yield opened


@pytest.fixture
def filled_id(filled: Store) -> int:
    return int(filled.find_study("camvid")["id"])
