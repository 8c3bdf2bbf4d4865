"""What an ablation would train: its arms, in what they differ, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.errors import BlockError
from nas.ablation import Arm, planned
from nas.propose.budget import Budget, built_cost
from nas.propose.candidates import protocol_of
from nas.report.tables import human
from nas.space import Space
from nas.study.work import info_of
from runners.data import DataInfo


def rows_of(space: Space) -> list[dict[str, object]]:
    """One row an arm; no file of the data is touched.

    Raises:
        SpaceError: the ablation makes no sense.
    """
    info, budget = info_of(space), Budget(space.budget)
    return [
        {"arm": arm.name, "differs": "; ".join(map(str, arm.differences)), **_cost(space, arm, info, budget)}
        for arm in planned(space).arms
    ]


def sentences(space: Space) -> list[str]:
    """How much that is, and what the design has and the space forbids."""
    plan = planned(space)
    assert space.ablation is not None  # `planned` has seen to it
    seeds, first = space.ablation.seeds, space.search.seed
    epochs = seeds * sum(int(str(dict(arm.candidate.training)["epochs"])) for arm in plan.arms)
    seeded = f"{seeds} seeds ({first} to {first + seeds - 1})" if seeds > 1 else f"1 seed ({first})"
    said = [
        f"{len(plan.arms)} arms x {seeded}: {len(plan.arms) * seeds} trainings, {epochs} epochs. Nothing is recorded."
    ]
    if plan.left_out:
        said.append(f"Left out, because `forbid:` does not allow them: {'; '.join(plan.left_out)}.")
    return said


def _cost(space: Space, arm: Arm, info: DataInfo, budget: Budget) -> Mapping[str, object]:
    try:
        cost = built_cost(arm.candidate.architecture, protocol_of(space, arm.candidate, info, ""))
    except BlockError as error:
        return {"budget": f"cannot be built: {error}"}
    over = budget.exceeded(cost)
    shown = {name: cost[name] for name in ("params", "macs", "macs_conv")}
    return shown | ({} if over is None else {"budget": f"{over.limit} over {human(over.limit, over.allowed)}"})
