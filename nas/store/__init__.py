"""What happened: every study, trial and epoch, in one SQL database. All SQL of this project is in this folder."""

from __future__ import annotations

from nas.store.choices import as_text, choices_of, spelled
from nas.store.imports import ImportedTrial
from nas.store.schema import CUT_SHORT
from nas.store.store import Store, default_url

__all__ = ["CUT_SHORT", "ImportedTrial", "Store", "as_text", "choices_of", "default_url", "spelled"]
