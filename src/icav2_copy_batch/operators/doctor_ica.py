"""What a doctor sees of ICA: the token, the projects that the token's user may copy into, and the notifications."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from icav2_copy_batch.domain.health import Look, Seen, ok, problem, unknown, warning
from icav2_copy_batch.domain.ica import IcaError, IcaRefused
from icav2_copy_batch.domain.job import Clock
from icav2_copy_batch.domain.jwt import claims_in, expiry_in, names_in
from icav2_copy_batch.domain.notifications import LONGEST_ADDRESS, shorten_by, to_address
from icav2_copy_batch.domain.rights import Rights, rights_of
from icav2_copy_batch.ports import IcaSetup, TokenSource

EXPIRES_SOON = timedelta(days=7)
NEW_TOKEN = "make a JWT and store it in the secret (docs/deploy.md, The token)"  # noqa: S105 # what to do about a token
ADD_USER = "add the token's user to the project in ICA, with the role Contributor and upload allowed"
GIVE_RIGHTS = "give the token's user the role Contributor, with upload allowed, in this project in ICA"
LOOK_AT_TEAM = "look in ICA, Project › Team, whether the token's user is a Contributor with upload allowed"
ASK_ICA = "see the finding on ica"


@dataclass(kw_only=True)
class IcaLooks:
    """Looks at ICA with the stack's token. Once ICA does not answer, it is not asked any more."""

    ica: IcaSetup
    tokens: TokenSource
    address: str
    """The notification queue's URL."""
    base_url: str
    clock: Clock
    _claims: Mapping[str, Any] | None = field(default=None, init=False)
    _has_token: bool = field(default=False, init=False)
    _answers: bool = field(default=False, init=False)
    """Whether ICA takes the token."""

    def looks(self, projects: Sequence[str]) -> Iterator[Look]:
        """All looks; each is to be made before the next is taken."""
        self._claims, self._has_token, self._answers = None, False, False
        yield Look("token", None, self._token)
        yield Look("token_expiry", None, self._expiry)
        yield Look("ica", None, self._ica)
        yield Look("address", None, self._address)
        yield Look("channel", None, self._channel)
        if not projects:
            yield Look(
                "project", None, lambda: unknown("no copy is open or recent", "icav2-copy doctor --project PROJECT")
            )
        for project in projects:
            yield from self._project_looks(project)

    def _project_looks(self, project: str) -> Iterator[Look]:
        found: list[str] = []
        """Its id, once it has been seen."""
        unseen = unknown("not checked, because the project could not be seen", "see the finding on the project")
        yield Look("project", project, lambda: self._project(project, found))
        yield Look("rights", project, lambda: self._rights(found[0]) if found else unseen)
        yield Look("subscription", project, lambda: self._subscription(project, found[0]) if found else unseen)

    # --- the token ---------------------------------------------------------------------------------------------------

    def _token(self) -> Seen:
        try:
            token = self.tokens.token(fresh=True)
        except Exception as error:  # noqa: BLE001 # AWS's errors, and those of what the secret holds
            return problem(f"it cannot be read: {error}", NEW_TOKEN)
        self._claims, self._has_token = claims_in(token), True
        return ok("the secret holds a token")

    def _expiry(self) -> Seen:
        until = expiry_in(self._claims) if self._claims else None
        if until is None:
            return unknown("the token has no expiry time", "see that somebody renews it (docs/deploy.md)")
        left = until - self.clock()
        told = f"{until:%Y-%m-%d %H:%M} UTC"
        if left <= timedelta():
            return problem(f"it expired at {told}", NEW_TOKEN)
        told = f"it is valid until {told}, for {left / timedelta(days=1):.1f} days"
        if left < EXPIRES_SOON:
            return warning(told, f"unless something renews it by itself, {NEW_TOKEN}")
        return ok(told)

    def _ica(self) -> Seen:
        if not self._has_token:
            return unknown("it was not asked, since there is no token", "see the finding on the token")
        try:
            self.ica.check_token()
        except IcaError as error:
            if error.http_status == 401:
                return problem(f"ICA does not take the token: {error}", NEW_TOKEN)
            fix = f"see ICA's status page, and whether IcaBaseUrl is right: {self.base_url}"
            return problem(f"ICA does not answer: {error}", fix)
        self._answers = True
        return ok(f"{self.base_url} takes the token")

    # --- projects ----------------------------------------------------------------------------------------------------

    def _project(self, project: str, found: list[str]) -> Seen:
        if not self._answers:
            return self._not_asked()
        try:
            project_id = self.ica.project_id(project)
            name = self.ica.project_name(project_id)
        except IcaRefused as error:
            return problem(f"the token's user does not see it: {error}", ADD_USER)
        found.append(project_id)
        return ok(f"it is called {name!r}" if project == project_id else f"its id is {project_id}")

    def _rights(self, project_id: str) -> Seen:
        try:
            permissions = self.ica.permissions(project_id)
        except IcaRefused as error:
            return unknown(f"who may do what in the project is not told to the token's user: {error}", LOOK_AT_TEAM)
        rights, own = rights_of(names_in(self._claims or {}), permissions)
        told = "; ".join(map(str, own))
        match rights:
            case Rights.ENOUGH:
                return ok(told)
            case Rights.TOO_FEW:
                return problem(f"the token's user has {told}", GIVE_RIGHTS)
            case Rights.UNKNOWN:
                why = (
                    f"the user's own permission is {told}; workgroups may do more"
                    if own
                    else "the token names none of its members"
                )
                return unknown(f"whether the token's user may copy into it cannot be told: {why}", LOOK_AT_TEAM)

    # --- notifications -----------------------------------------------------------------------------------------------

    def _address(self) -> Seen:
        if excess := shorten_by(self.address):
            what = f"the notification queue's URL has {len(self.address)} characters, and ICA takes {LONGEST_ADDRESS}"
            return warning(
                f"{what}: ICA cannot notify this stack, and only the poller asks",
                f"deploy the stack under a name that is shorter by {excess}",
            )
        return ok(f"the notification queue's URL has {len(self.address)} of {LONGEST_ADDRESS} allowed characters")

    def _channel(self) -> Seen:
        if not self._answers:
            return self._not_asked()
        ours = [channel for channel in self.ica.channels() if channel.address == self.address]
        if any(channel.is_enabled for channel in ours):
            return ok("there is a channel to the notification queue")
        state = "is disabled" if ours else "does not exist, or the token's user does not see it"
        return warning(f"the channel to the notification queue {state}", "icav2-copy subscribe PROJECT…")

    def _subscription(self, project: str, project_id: str) -> Seen:
        known = to_address(self.ica.subscriptions(project_id), self.address)
        fix = f"icav2-copy subscribe {project}"
        if known is None:
            return warning("ICA does not tell this stack of the project's jobs: only the poller asks", fix)
        if not known.works:
            return warning(f"{'it' if not known.is_enabled else 'its channel'} is disabled", fix)
        if known.filter:
            return warning(
                f"it has a filter, so that not all jobs may be told: {known.filter}", "remove it in ICA's web interface"
            )
        return ok("ICA tells this stack of the project's jobs")

    def _not_asked(self) -> Seen:
        return unknown("it was not looked at, since ICA does not answer", ASK_ICA)
