"""Every failure that a user can cause or mend, as one exception class a kind.

The message is one sentence for the user: what was expected, what came, how to mend it. The command line prints it and exits
with 2 (130 after Ctrl-C); the traceback goes to the log only. Anything that is not a `DtrError` is a bug of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DtrError(Exception):
    """A failure whose message says what was expected, what came and how to mend it."""


class UnknownName(DtrError):
    """A cut, metric, suite, policy, recipe, protocol or stage that does not exist."""


class BadConfig(DtrError):
    """A configuration, sheet or recipe that does not validate."""


class BadCheckpoint(DtrError):
    """A policy file that is truncated, foreign, of the wrong shapes or of unknown keys."""


class PlanMismatch(DtrError):
    """A plan that belongs to another policy, or contradicts the file it is applied to."""


class BadDemonstrations(DtrError):
    """Demonstrations with NaN, wrong shapes, missing files or another layout."""


class BadRecord(DtrError):
    """A score, plan, episode, cell or table that does not validate, or that carries errors where a number is asked for."""


class MissingLibrary(DtrError):
    """A system library, an EGL device or a pinned package that is not there."""


class MissingAssets(DtrError):
    """Simulator assets (meshes, textures, initial states) that are not on this machine."""


class FetchFailed(DtrError):
    """A published file that does not come: no network, no licence accepted, no such revision, other bytes than were promised."""


class BadMessage(DtrError):
    """A message over a socket that does not read, or asks for what is not offered; the conversation can go on."""


class Unreachable(DtrError):
    """A server, a robot or an address that cannot be talked to."""


class DiskFull(DtrError):
    """The disk had no room; nothing half-written was left under its final name."""


class Interrupted(DtrError):
    """The user stopped a long stage; its state was kept and the same command goes on from there."""


def unknown(kind: str, name: str, known: Iterable[str], remedy: str = "") -> UnknownName:
    """The error for a `name` that is no `kind`, with the nearest known names ("did you mean")."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"known: {', '.join(choices)}."
    return UnknownName(f"unknown {kind} {name!r}: {hint}{' ' + remedy if remedy else ''}")
