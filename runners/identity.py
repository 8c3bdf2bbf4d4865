"""The key of a result: everything that it depends on, the weights that it began with among it. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blocks.architecture import Architecture, canonical_json, fingerprint

if TYPE_CHECKING:
    from runners.protocol import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The finished trial whose weights another one begins with.

    Args:
        trial: its number in the study of both.
        identity: the key of its result.
        architecture: its network: tells which parts are those of the other.
    """

    trial: int
    identity: str
    architecture: Architecture


def identity(
    architecture: Architecture, protocol: Protocol, seed: int, versions: Mapping[str, int], parent: Parent | None = None
) -> str:
    """The key of a result, across studies: architecture, protocol, seed and the version of each component.

    What began with the weights of another trial is another result: its key holds the other's.
    """
    own = fingerprint(canonical_json([architecture.fingerprint, protocol.fingerprint, seed, dict(versions)]))
    return descended(own, parent.identity if parent else None)


def descended(own: str, parent: str | None) -> str:
    """The key of a result that would have the key `own` after a fresh start.

    Args:
        own: of the fresh start.
        parent: the key of the result whose weights it begins with; None leaves it a fresh start.
    """
    return fingerprint(canonical_json([own, parent])) if parent else own
