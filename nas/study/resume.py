"""Begin a study, or go on with one: the store is the memory."""

from __future__ import annotations

from dataclasses import replace

from blocks.errors import SpaceError, StoreError, law
from nas.space import Resources, Space
from nas.store import Store
from runners.halving import ParetoHalving
from runners.protocol import Epoch, Stopped

_KNOWN = ("params", "macs", "macs_conv", "activation_bytes", "latency_ms", "peak_memory_bytes")


def claim(space: Space, name: str, store: Store, *, resume: bool) -> int:
    """Find or create the study and return its id.

    Raises:
        StoreError: it exists and nobody said to resume it, or the other way round.
        SpaceError: it was begun with another space.
    """
    row = store.study(name)
    if row is None:
        if resume:
            got = {"study": name, "store": str(store)}
            raise StoreError(
                law("--resume", "a study that exists", got, "Begin it without --resume, or see `nas studies`")
            )
        return store.create_study(
            name,
            space=space.text,
            objectives=space.objectives,
            budget=space.budget,
            seed=space.search.seed,
            settings={"trials": space.search.trials, "sampler": space.search.sampler.plain()},
        )
    if not resume and store.next_number(row["id"]) > 0:
        states = [trial["state"] for trial in store.trials(row["id"], columns=["state"])]
        done = sum(state in {"finished", "replayed"} for state in states)
        raise StoreError(
            f"A new study needs a name of its own: {name!r} exists with {len(states)} trials, {done} of them finished. "
            f"Continue it with --resume, look at it with `nas front {name}`, or begin another with --study NAME."
        )
    if _essence(Space.loads(row["space"])) != _essence(space):
        raise SpaceError(
            f"A resumed study needs the space that it was begun with: {name!r} was begun with another. Only "
            "the limits of the search (trials, hours, gpu_hours, epochs), resources and the place of the data may "
            "differ. Begin a new study with --study NAME: what the two have in common is not trained again."
        )
    store.mark_orphans(row["id"])
    return int(row["id"])


def _essence(space: Space) -> Space:
    """The space without what may differ between two runs of one study."""
    search = replace(space.search, trials=1, hours=None, gpu_hours=None, epochs=None)
    return replace(space, name="", text="", source=None, place={}, resources=Resources(), search=search)


def recall(stopper: ParetoHalving, store: Store, study_id: int) -> None:
    """Fill the rungs with what earlier runs of this study have recorded, and with who waits there."""
    for row in store.trials(study_id):
        known = {name: row[name] for name in _KNOWN if row[name] is not None}
        for epoch in store.epochs(row["id"]) if row["epochs"] else []:
            stopper.record(row["number"], known, _epoch(epoch))
        if row["state"] == "paused":
            stopper.wait(row["number"], Stopped(row["rung"], row["missing"]))


def _epoch(row: dict[str, object]) -> Epoch:
    names = ("epoch", "loss", "miou", "pixel_accuracy", "learning_rate", "seconds", "train_memory_bytes")
    # What was not finite has been stored as nothing.
    figures = {name: float("nan") if row[name] is None else row[name] for name in names}
    return Epoch(class_iou=(), **figures)  # type: ignore[arg-type]
