"""Begin a study, or go on with one: the store is the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blocks.errors import SpaceError, StoreError, law
from nas.space import Resources, Space
from nas.store import Store
from nas.study.edited import Edit, adopt
from runners.data import DataInfo
from runners.halving import ParetoHalving
from runners.protocol import Epoch, Stopped

_LISTS = {"ablation": "nas ablate", "fixed": "nas train"}
_KNOWN = ("params", "macs", "macs_conv", "activation_bytes", "latency_ms", "peak_memory_bytes")


def claim(
    space: Space, name: str, store: Store, *, resume: bool, data: DataInfo, fingerprint: str
) -> tuple[int, Edit | None]:
    """Find or create the study of a search.

    Returns:
        Its id, and what an edit of its space has left of it.

    Raises:
        StoreError: it exists and nobody said to resume it, or the other way round.
        SpaceError: it was begun with other objectives, or with a space that has nothing in common with this one.
    """
    study_id, edited = found_or_created(space, name, store, resume=resume, trials=space.search.trials)
    return study_id, adopt(space, study_id, store, data, fingerprint) if edited else None


def found_or_created(
    space: Space, name: str, store: Store, *, resume: bool, trials: int, settings: Mapping[str, object] | None = None
) -> tuple[int, bool]:
    """Find or create a study.

    Args:
        space: what it is about.
        name: of the study.
        store: where it is.
        resume: it must exist, and is gone on with.
        trials: that it is to have. [count]
        settings: what else is noted of it where it is created, in place of the sampler.

    Returns:
        Its id, and whether it was begun with another space.

    Raises:
        StoreError: it exists and nobody said to resume it, or the other way round.
        SpaceError: it was begun with other objectives.
    """
    row = store.study(name)
    if row is None:
        if resume:
            got = {"study": name, "store": str(store)}
            raise StoreError(
                law("--resume", "a study that exists", got, "Begin it without --resume, or see `nas studies`")
            )
        created = store.create_study(
            name,
            space=space.text,
            objectives=space.objectives,
            budget=space.budget,
            seed=space.search.seed,
            settings={"trials": trials, **(settings or {"sampler": space.search.sampler.plain()})},
        )
        return created, False
    if "imported" in row["settings"]:
        remedy = "Sweep under another name with --study NAME; `nas simulate` searches on imported curves"
        raise StoreError(law("A sweep", "a study of its own", {"imported study": name}, remedy))
    kinds = [kind for kind in _LISTS if kind in row["settings"]]
    if store.next_number(row["id"]) > 0 and kinds != [kind for kind in _LISTS if kind in (settings or {})]:
        is_one = _LISTS[kinds[0]] if kinds else "nas sweep"
        remedy = f"Go on with it by `{is_one}`, or begin another with --study NAME"
        raise StoreError(law("This run", "a study of its own kind", {"study": name, "begun_by": is_one}, remedy))
    if not resume and store.next_number(row["id"]) > 0:
        states = [trial["state"] for trial in store.trials(row["id"], columns=["state"])]
        done = sum(state in {"finished", "replayed"} for state in states)
        raise StoreError(
            f"A new study needs a name of its own: {name!r} exists with {len(states)} trials, {done} of them finished. "
            f"Continue it with --resume, look at it with `nas front {name}`, or begin another with --study NAME."
        )
    study_id = int(row["id"])
    store.mark_orphans(study_id)
    if _essence(Space.loads(row["space"])) == _essence(space) and _same_weights(space, store, study_id):
        return study_id, False
    if row["objectives"] != dict(space.objectives):
        both = {"objectives": dict(space.objectives), "begun_with": row["objectives"]}
        remedy = "Begin a new study with --study NAME: what the two have in common is not trained again"
        raise SpaceError(law("A resumed study", "the objectives that it was begun with", both, remedy))
    return study_id, True


def _essence(space: Space) -> Space:
    """The space without what may differ between two runs of one study."""
    search = replace(space.search, trials=1, hours=None, gpu_hours=None, epochs=None)
    here = replace(space, name="", text="", source=None, place={}, weights="", weights_hash="")
    return replace(here, resources=Resources(), search=search)


def _same_weights(space: Space, store: Store, study_id: int) -> bool:
    """Tell whether networks start from what they started from in the run before: from these contents, wherever."""
    runs = store.provenance(study_id)
    return not runs or runs[-1]["facts"].get("weights", "") == space.weights_hash


def recall(stopper: ParetoHalving, store: Store, study_id: int) -> None:
    """Fill the rungs with what earlier runs of this study have recorded, and with who waits there."""
    for row in store.trials(study_id):
        if row["outside"]:
            continue
        known = {name: row[name] for name in _KNOWN if row[name] is not None}
        for recorded in store.epochs(row["id"]) if row["epochs"] else []:
            epoch = epoch_of(recorded)
            stopper.record(row["number"], known, epoch)
            if epoch.epoch == row["epochs_planned"]:
                stopper.finish(row["number"], known, epoch)
        if row["state"] == "paused":
            stopper.wait(row["number"], Stopped(row["rung"], row["missing"]))


def epoch_of(row: dict[str, object]) -> Epoch:
    """A recorded epoch as a value; what was not finite has been stored as nothing."""
    names = ("epoch", "loss", "miou", "pixel_accuracy", "learning_rate", "seconds", "train_memory_bytes")
    figures = {name: float("nan") if row[name] is None else row[name] for name in names}
    return Epoch(class_iou=(), **figures)  # type: ignore[arg-type]
