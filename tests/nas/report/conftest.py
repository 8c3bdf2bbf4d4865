from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.architecture import Architecture, Component
from nas.store import Store, choices_of
from runners.protocol import Epoch, Failed, Finished, Outcome, Paused, Protocol, Rejected, Stopped

Make = Callable[..., Any]

HOSTILE = '</script><script>planted = 1</script><img src=x onerror="planted = 1">\'"&amp; <b>$x^2$</b>'
"""What other people's files may hold."""


def study_of(store: Store, name: str, space: str = "") -> int:
    goals = {"miou": "max", "macs": "min"}
    return store.create_study(name, space=space or f"name: {name}", objectives=goals, budget={"macs": 1e10}, seed=0)


def trial_of(
    store: Store,
    study_id: int,
    text: str,
    *,
    mious: tuple[float, ...] = (0.1, 0.2, 0.3),
    macs: int = 10**9,
    classes: int = 3,
    outcome: Outcome | None = None,
) -> int:
    """A trial with whatever somebody may have written into it."""
    architecture = Architecture(
        backbone=Component.of("timm", {"model": text}), context=Component.of("ppm", {"bins": (1, 2), "mode": text})
    )
    protocol = Protocol(
        data=Component.of("folder", {"size": (64, 64), "labels": text}),
        data_fingerprint=text,
        size=(64, 64),
        classes=classes,
        image_channels=3,
        training=(("epochs", 3),),
        main=(Component.of("cross_entropy"),),
        coarse=(),
    )
    number = store.next_number(study_id)
    trial_id = store.propose(
        study_id,
        number,
        identity=f"{text}{number}",
        architecture=architecture,
        protocol=protocol,
        seed=2**60 + number,
        cost={"params": macs // 100, "macs": macs, "macs_conv": macs, "activation_bytes": 4096},
        answers={"architecture.backbone.timm.model": text, f"architecture.{text}": text, "training.batch": number},
        choices=choices_of(architecture, protocol),
        epochs=3,
    )
    store.start(trial_id, text, text)
    for epoch, miou in enumerate(mious, start=1):
        figures = {"loss": 1.0, "miou": miou, "pixel_accuracy": 0.9, "class_iou": (miou,) * classes}
        spent = {"learning_rate": 1e-3, "seconds": 2.0, "train_memory_bytes": 1000}
        store.epoch(trial_id, Epoch(epoch=epoch, **figures, **spent, log=text))
    store.end(trial_id, outcome or Finished())
    return trial_id


def hostile(store: Store, name: str = HOSTILE) -> None:
    """A study in which everything that is text tries to get out."""
    study_id = study_of(store, name, space=f"# {HOSTILE}\nname: x")
    facts = {"revision": HOSTILE, "dirty": True, "data_fingerprint": HOSTILE, "command": HOSTILE, "host": HOSTILE}
    store.record_provenance(study_id, {**facts, "versions": {HOSTILE: HOSTILE}, "gpus": [HOSTILE], HOSTILE: HOSTILE})
    for number, text in enumerate((HOSTILE, "resnet18", "resnet34", HOSTILE, "resnet18", "resnet34", HOSTILE)):
        trial_of(store, study_id, text, mious=(0.1, 0.2, 0.3 + 0.01 * number), macs=(number + 1) * 10**9)
    trial_of(store, study_id, HOSTILE, mious=(0.1,), outcome=Failed(HOSTILE, HOSTILE, HOSTILE))
    trial_of(store, study_id, HOSTILE, mious=(), outcome=Rejected(HOSTILE, 2e10, 1e10))
    trial_of(store, study_id, HOSTILE, mious=(0.1,), outcome=Stopped(rung=1, missing=0.5))


def many(store: Store, add: Make, trials: int, name: str = "camvid") -> int:
    """A study of so many trials that ended in all the ways there are."""
    study_id = study_of(store, name)
    contexts, models = ("none", "ppm", "psa", "aspp"), ("resnet18", "resnet34", "mobilenetv3_small_100")
    first = 0
    for number in range(trials):
        place = {"context": contexts[number % 4], "model": models[number % 3], "seed": number}
        place |= {"macs": 10**8 * (1 + 37 * number % 211), "rate": 1e-4 * (1 + number % 50)}
        top = 0.2 + 0.1 * (number % 4) + 0.05 * (number % 3)
        whole, part = (top / 3, top / 2, top), (top / 3,)
        match number % 10:
            case 1:
                add(store, study_id, **place, mious=part, outcome=Stopped(rung=1, missing=0.5))
            case 2:
                add(store, study_id, **place, mious=part, outcome=Paused(rung=1, missing=0.5))
            case 3:
                add(store, study_id, **place, mious=part, outcome=Failed("loss is nan\nat step 7", "Traceback", "boom"))
            case 4:
                add(store, study_id, **place, mious=(), outcome=Rejected("macs", 2e10, 1e10))
            case 5:
                store.replay(add(store, study_id, **place, mious=(), outcome=None), first)
            case 6:
                store.skip(add(store, study_id, **place, mious=(), outcome=None), "not in the space any more")
            case _:
                trained = add(store, study_id, **place, mious=whole)
                first = first or trained
    return study_id


def empty(store: Store, add: Make) -> None:
    study_of(store, "odd")


def failures(store: Store, add: Make) -> None:
    study_id = study_of(store, "odd")
    for number in range(3):
        add(
            store, study_id, seed=number, mious=(), outcome=Failed(f"CUDA out of memory {number // 2}", "Traceback", "")
        )


def one(store: Store, add: Make) -> None:
    add(store, study_of(store, "odd"))


def equal(store: Store, add: Make) -> None:
    study_id = study_of(store, "odd")
    for number in range(6):
        add(store, study_id, seed=number, context=("none", "ppm")[number % 2], mious=(0.3, 0.3, 0.3))


def not_a_number(store: Store, add: Make) -> None:
    study_id = study_of(store, "odd")
    for number in range(3):
        add(store, study_id, seed=number, mious=(float("nan"),) * 3)


def one_class(store: Store, add: Make) -> None:
    study_id = study_of(store, "odd")
    for number in range(3):
        trial_of(store, study_id, "resnet18", classes=1, macs=10**9 * (number + 1), mious=(0.1, 0.2, 0.3 + number / 10))


def no_objectives(store: Store, add: Make) -> None:
    study_id = store.create_study("odd", space="", objectives={"beauty": "max"}, budget={}, seed=0)
    add(store, study_id)


ODD: dict[str, Make] = {
    made.__name__: made for made in (empty, failures, one, equal, not_a_number, one_class, no_objectives)
}


@pytest.fixture
def odd(request: pytest.FixtureRequest, tmp_path: Path, add: Make) -> Store:
    """A store whose study `odd` is of the kind that the test names."""
    opened = Store.open(str(tmp_path / "odd.db"))
    request.addfinalizer(opened.close)
    ODD[request.param](opened, add)
    return opened


@pytest.fixture(name="hostile")
def _hostile() -> Make:
    return hostile


@pytest.fixture(name="many")
def _many() -> Make:
    return many


@pytest.fixture(scope="session")
def hostile_text() -> str:
    return HOSTILE
