"""Which question of a space each column of a table answers: a YAML file of `column: question`.

    context: architecture.context
    width: architecture.align.bilinear.channels
    norm: {question: training.optimizer, values: {Adam: adamw, SGD: sgd}}

`values` translates what the table says; what is not listed there is taken as it is. A column answers its question where
the space asks it; each question that the space may ask needs a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blocks.errors import SpaceError, law, nearest
from blocks.options import Value
from nas.space import Space
from nas.space.mistakes import Mistakes
from nas.space.nodes import Node, Scalar, Table, literal, plain
from nas.space.reader import read
from nas.store import as_text


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        question: the path of the question that it answers.
        values: what the table says, as text -> what the space says.
    """

    question: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def answer(self, value: Value) -> Value:
        """What the space says for this value of the column."""
        return self.values.get(as_text(value) or "", value)


def read_columns(file: Path, space: Space) -> dict[str, Column]:
    """Read a mapping and check it against a space.

    Raises:
        SpaceError: it cannot be read, or names questions that do not exist, or leaves some without a column.
    """
    mistakes = Mistakes()
    try:
        root = read(file.read_bytes(), str(file), mistakes)
    except OSError as error:
        got = {"file": str(file), "reason": error.strerror}
        raise SpaceError(law("A mapping of columns", "a file that can be read", got, "Check the path")) from error
    found: dict[str, Column] = {}
    if isinstance(root, Table):
        questions = {question.path for question in space.questions()}
        for name, node in root.entries.items():
            if (column := _column(name, node, questions, mistakes)) is not None:
                found[name] = column
        for path in sorted(questions - {column.question for column in found.values()}):
            remedy = f"Write COLUMN: {path}, or fix its answer in the space"
            mistakes.add(root.mark, "A mapping of columns", "a column for each question", {"question": path}, remedy)
    elif root is not None:
        mistakes.add(root.mark, "A mapping of columns", "column: question", {"value": plain(root)}, "See the manual")
    mistakes.raise_any(f"columns of {file.name}")
    return found


def _column(name: str, node: Node, questions: set[str], mistakes: Mistakes) -> Column | None:
    entries = node.entries if isinstance(node, Table) else {"question": node}
    values = entries.get("values", Table({}, node.mark))
    path = entries.get("question")
    if set(entries) - {"question", "values"} or not isinstance(path, Scalar) or not isinstance(values, Table):
        remedy = "Write question: PATH and values: {theirs: ours}"
        mistakes.add(node.mark, f"Column {name}", "a question", {name: plain(node)}, remedy)
        return None
    if path.value not in questions:
        got = {"question": path.value}
        mistakes.add(path.mark, f"Column {name}", "a question of the space", got, nearest(str(path.value), questions))
        return None
    return Column(str(path.value), {theirs: literal(ours) for theirs, ours in values.entries.items()})
