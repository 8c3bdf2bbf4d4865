"""The verb that says which component earned its place: `nas effects STUDY`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from nas.cli.listings import FormatOption, StoreOption, StudyArgument, WhereOption
from nas.report.tables import check_format


def effects(
    study: StudyArgument,
    *,
    where: WhereOption = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Also which pairs of options do more or less together than their sum.")
    ] = False,
    store: StoreOption = None,
    format: FormatOption = "table",
) -> None:
    """Show what each option is worth while the other choices are accounted for."""
    from nas.analysis import effects as worth
    from nas.analysis.fronts import FINAL, candidates
    from nas.propose.importance import importances
    from nas.report import effects as shown
    from nas.store import Store

    check_format(format)
    with Store.open(store, create=False) as opened:
        found = opened.find_study(study)
        rows = opened.trials(found["id"], where)
        choices = opened.chosen(found["id"], FINAL)
        answers = {row["id"]: row["answers"] for row in opened.everything(found["id"])}
    objectives = _objectives(found["objectives"])
    sections = [shown.worth(worth.effects(rows, choices, objectives=objectives))]
    if pairs:
        sections.append(shown.together(worth.interactions(rows, choices)))
    asked = [row | {"answers": answers[row["id"]]} for row in rows]
    sections.append(shown.important(importances(asked, objectives)))
    used = candidates(rows, {"miou": "max"})
    networks = len({(row["fingerprint"], row["protocol_fingerprint"]) for row in used})
    title = shown.title(study, networks=networks, trials=len(used), others=len(rows) - len(used))
    typer.echo(shown.text(title, sections, format))


def _objectives(recorded: Mapping[str, str]) -> dict[str, str]:
    """The study's objectives by the names that rows have."""
    from nas.analysis.effects import OBJECTIVES
    from nas.store.columns import FLAT, canonical

    own = {canonical(name): direction for name, direction in recorded.items()}
    return {name: direction for name, direction in own.items() if name in FLAT} or dict(OBJECTIVES)
