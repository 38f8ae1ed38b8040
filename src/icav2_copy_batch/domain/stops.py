"""What is not to be launched: paused copies and projects, and cancelled copies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

ALL = "all"
"""The subject of a pause of everything."""
MOST_PAUSED = 500
"""So many copies and projects may be paused at a time. Their names stand in the item that each claim rewrites."""
TOO_MANY_PAUSED = (
    f"{MOST_PAUSED} copies and projects are paused, and no more may be: resume some first, or pause everything"
)


def copy_subject(copy_id: str) -> str:
    """The subject of a pause of one copy."""
    return f"copy {copy_id}"


def project_subject(project_id: str) -> str:
    """The subject of a pause of one destination project, by its id."""
    return f"project {project_id}"


@dataclass(frozen=True, slots=True)
class Paused:
    """That nothing new of a subject is launched: of a copy, of a destination project, or of all."""

    subject: str
    since: str
    by: str | None = None
    """Who has paused it, as far as known."""
    reason: str | None = None

    @property
    def in_words(self) -> str:
        """``all has been paused since 2026-11-25 22:10:07 UTC by ann: the disk is full``."""
        since = self.since.partition(".")[0].replace("T", " ").removesuffix("Z")
        by, why = f" by {self.by}" if self.by else "", f": {self.reason}" if self.reason else ""
        return f"{self.subject} has been paused since {since} UTC{by}{why}"


def hold(copy_id: str, since: str) -> Paused:
    """The pause of a copy that is submitted on hold."""
    return Paused(copy_subject(copy_id), since, reason="held since it was submitted")


@dataclass(frozen=True, slots=True)
class Stops:
    """All that is not to be launched at a moment."""

    paused: frozenset[str] = frozenset()
    """The subjects of all pauses."""
    cancelled: frozenset[str] = field(default_factory=frozenset)
    """Ids of cancelled copies of which jobs may still be open."""

    def has_room_for(self, subject: str) -> bool:
        """Whether this may be paused as well; everything always may be, and what is paused already."""
        return len(self.paused) < MOST_PAUSED or subject == ALL or subject in self.paused

    def is_paused(self, copy_id: str, project_id: str) -> bool:
        return not self.paused.isdisjoint(pause_subjects(copy_id, project_id))

    def holds(self, copy_id: str, project_id: str) -> bool:
        """Whether no job of this copy into this project may be launched."""
        return copy_id in self.cancelled or self.is_paused(copy_id, project_id)


def pause_subjects(copy_id: str, project_id: str) -> Iterable[str]:
    """The subjects of the pauses that keep a job from being launched."""
    return ALL, project_subject(project_id), copy_subject(copy_id)
