"""Data sets that name the samples of a split in text files, one a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blocks.errors import DataError, law
from runners.data.contract import SplitName, report
from runners.data.files import Pair, need_folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Where the files of such a data set lie.

    Args:
        subject: who is speaking in an error, e.g. `Data set voc2012`.
        root: the folder that everything else is relative to.
        train: the lists of names to train on.
        val: the lists of names to evaluate on.
        test: the lists of names that no search looks at, if there are any.
        images: sub-folder of images, which end in `.jpg`.
        labels: sub-folders of labels; a sample's label is taken from the first that holds it.
        ending: what label files end in.
    """

    subject: str
    root: Path
    train: tuple[str, ...]
    val: tuple[str, ...]
    images: str
    labels: tuple[str, ...]
    ending: str = ".png"
    test: tuple[str, ...] = ()

    def pairs(self, split: SplitName) -> tuple[Pair, ...]:
        """List a split's images with their labels, sorted by name.

        Raises:
            DataError: a folder, a list, an image or a label is missing, or there is no such split.
        """
        lists: tuple[str, ...] = getattr(self, split)
        if not lists:
            raise DataError(law(self.subject, f"lists of names to {split} with", {"lists": []}, "It publishes none"))
        need_folders(self.subject, self.root, (self.images, *self.labels))
        images, *labels = (
            {path.stem: path for path in (self.root / folder).iterdir() if path.suffix == ending}
            for folder, ending in ((self.images, ".jpg"), *((folder, self.ending) for folder in self.labels))
        )
        found = {name: path for held in reversed(labels) for name, path in held.items()}
        names = sorted({name for path in lists for name in self._names(path)})
        report([self._missing(name, name in images) for name in names if name not in images or name not in found])
        return tuple(Pair(images[name], found[name]) for name in names)

    def strays(self, split: SplitName) -> tuple[Path, ...]:
        """None: lists leave out what they leave out."""
        return ()

    def _names(self, path: str) -> list[str]:
        """Read one list. Some write a name, others the path of the image and that of the label."""
        try:
            text = (self.root / path).read_text(encoding="utf-8")
        except OSError as error:
            got = {"missing": str(self.root / path), "error": error.strerror}
            raise DataError(law(self.subject, "lists of names", got, "Restore the list")) from error
        names = [Path(line.split()[0]).stem for line in text.splitlines() if line.strip()]
        if not names:
            raise DataError(law(self.subject, "lists of names", {"empty": str(self.root / path)}, "Restore the list"))
        return names

    def _missing(self, name: str, has_image: bool) -> str:
        folders, ending = (self.labels, self.ending) if has_image else ((self.images,), ".jpg")
        needs = "a label for each name in its lists" if has_image else "an image for each name in its lists"
        return law(self.subject, needs, {"missing": name + ending}, f"It belongs into {' or '.join(folders)}")
