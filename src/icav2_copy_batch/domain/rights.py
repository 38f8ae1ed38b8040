"""Who may do what in an ICA project, as far as ICA tells."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

ROLES_THAT_COPY = ("CONTRIBUTOR", "ADMINISTRATOR")
"""The roles in a destination project with which files can be copied into it, where upload is allowed besides."""


@dataclass(frozen=True, slots=True)
class Permission:
    """A member of a project: a user, or a workgroup with users of which ICA does not tell here."""

    role: str
    may_upload: bool
    names: frozenset[str] = frozenset()
    """The user's id, name and addresses, in lower case; nothing for a workgroup."""

    @property
    def is_enough(self) -> bool:
        return self.role in ROLES_THAT_COPY and self.may_upload

    def __str__(self) -> str:
        return f"role {self.role}, upload {'allowed' if self.may_upload else 'not allowed'}"


class Rights(Enum):
    """Whether a user may copy into a project."""

    ENOUGH = "enough"
    TOO_FEW = "too few"
    UNKNOWN = "it cannot be told"


def rights_of(names: Collection[str], permissions: Iterable[Permission]) -> tuple[Rights, list[Permission]]:
    """Whether the user with one of these names may copy into a project, and the permissions that are the user's own.

    A workgroup that may do it makes it uncertain: whether the user is in it is not told.
    """
    listed = list(permissions)
    own = [each for each in listed if not each.names.isdisjoint(names)]
    if any(each.is_enough for each in own):
        return Rights.ENOUGH, own
    may_be_of_a_workgroup = any(each.is_enough and not each.names for each in listed)
    return (Rights.UNKNOWN if may_be_of_a_workgroup or not own else Rights.TOO_FEW), own
