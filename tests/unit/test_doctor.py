"""Doctor: each finding where all is well, and where it is not; with what to do, and whatever else breaks."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from icav2_copy_batch.domain.deployed import Alarm, Messages, Names
from icav2_copy_batch.domain.ica import IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import Claim, HoldReason
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.notifications import Channel, Subscription
from icav2_copy_batch.domain.requests import Examine
from icav2_copy_batch.domain.rights import Permission
from icav2_copy_batch.domain.schedule import Slots, backlogs_of
from icav2_copy_batch.domain.stops import Paused
from icav2_copy_batch.domain.token import UnusableSecret
from icav2_copy_batch.domain.version import VERSION
from icav2_copy_batch.operators.doctor import Doctor
from icav2_copy_batch.operators.doctor_ica import IcaLooks
from icav2_copy_batch.operators.doctor_stack import StackLooks
from icav2_copy_batch.stages.poll import LEASE_NAME
from tests import doubles

QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/copy-ica"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"
NAMES = Names(
    queues={"ingest": "https://sqs/in", "launch": "https://sqs/launch", "notification": QUEUE},
    dead_letter_queues={
        "ingest": "https://sqs/in-dead",
        "launch": "https://sqs/l-dead",
        "publish": "https://sqs/p-dead",
    },
    alarms=("copy-A", "copy-B"),
    poll_rule="copy-EveryMinute",
    poll_function="copy-Poll",
    event_bus="my-bus",
)
MEMBER = Permission("CONTRIBUTOR", may_upload=True, names=frozenset({"copier@example.com"}))
ALL_IN_ORDER = [
    "token", "token_expiry", "ica", "address", "channel", "project", "rights", "subscription",
    "queue", "queue", "queue", "dead_letters", "dead_letters", "dead_letters",
    "alarms", "alarm_listeners", "poller", "bus", "pauses", "undecided",
]  # fmt: skip


def jwt(**claims: Any) -> str:
    body = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


@dataclass
class Tokens:
    text: str
    trouble: Exception | None = None

    def token(self, *, fresh: bool = False) -> str:
        assert fresh, "what is stored now is looked at"
        if self.trouble:
            raise self.trouble
        return self.text


@dataclass
class Deployed:
    """A stack whose resources are all there, but for what a test says."""

    queues: dict[str, Messages] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    ran_at: datetime | None = None
    known: list[Alarm] = field(
        default_factory=lambda: [Alarm(each, rings=False, tells=(TOPIC,)) for each in NAMES.alarms]
    )
    topics: dict[str, int] = field(default_factory=lambda: {TOPIC: 1})
    rules: dict[str, bool] = field(default_factory=lambda: {NAMES.poll_rule: True})
    buses: set[str] = field(default_factory=lambda: {NAMES.event_bus})
    trouble: dict[str, Exception] = field(default_factory=dict)
    """By the method that raises it."""

    def _call(self, method: str) -> None:
        if method in self.trouble:
            raise self.trouble[method]

    def messages(self, queue_url: str) -> Messages:
        self._call("messages")
        return self.queues.get(queue_url, Messages(0))

    def ages(self, queue_urls: Sequence[str], since: datetime, until: datetime) -> Mapping[str, float]:
        self._call("ages")
        assert set(queue_urls) == set(NAMES.queues.values())
        return self.measured

    def last_run(self, function: str, since: datetime, until: datetime) -> datetime | None:
        self._call("last_run")
        assert function == NAMES.poll_function
        return self.ran_at if self.ran_at and self.ran_at >= since else None

    def alarms(self, names: Sequence[str]) -> list[Alarm]:
        self._call("alarms")
        return [alarm for alarm in self.known if alarm.name in names]

    def listeners(self, topic_arn: str) -> int | None:
        self._call("listeners")
        return self.topics.get(topic_arn)

    def rule_is_enabled(self, name: str) -> bool | None:
        self._call("rule_is_enabled")
        return self.rules.get(name)

    def bus_is_there(self, name: str) -> bool:
        self._call("bus_is_there")
        return name in self.buses


class World(doubles.World):
    """All is well with it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ica, self.deployed, self.address = doubles.SmallSetup(), Deployed(), QUEUE
        self.tokens = Tokens(jwt(exp=(self.clock() + timedelta(days=30)).timestamp(), sub="Copier@example.com"))
        self.deployed.ran_at = self.clock() - timedelta(minutes=1)
        channel = Channel("channel-1", QUEUE)
        self.ica.known_channels.append(channel)
        for project_id in self.ica.projects.values():
            self.ica.members[project_id] = [MEMBER]
            self.ica.subscribed[project_id] = [Subscription("subscription-1", channel)]

    def examine(self, *projects: str) -> list[dict[str, Any]]:
        ica = IcaLooks(ica=self.ica, tokens=self.tokens, address=self.address, base_url="https://ica", clock=self.clock)
        stack = StackLooks(deployed=self.deployed, leases=self.table, names=NAMES, clock=self.clock)
        doctor = Doctor(ica=ica, stack=stack, table=self.table, clock=self.clock)
        answer = doctor.examine(Examine(projects=projects))
        assert json.loads(json.dumps(answer)) == answer, "Lambda returns JSON"
        assert answer["version"] == VERSION
        findings: list[dict[str, Any]] = answer["findings"]
        assert [each["check"] for each in findings if each["status"] != "ok" and not each["fix"]] == []
        assert self.tokens.text not in json.dumps(answer)
        return findings

    def bad(self, *projects: str) -> list[tuple[str, str | None, str]]:
        """Check, what it is about, and status of each finding that is not ok; for one project, unless named."""
        return [
            (each["check"], each["about"], each["status"])
            for each in self.examine(*(projects or ("archive",)))
            if each["status"] != "ok"
        ]

    def finding(self, check: str, about: str | None = None, *projects: str) -> dict[str, Any]:
        found = [each for each in self.examine(*(projects or ("archive",))) if each["check"] == check]
        (one,) = [each for each in found if about in (None, each["about"])]
        return one


@pytest.fixture
def world() -> World:
    return World()


def test_where_all_is_well_every_finding_is_ok_and_in_order(world: World) -> None:
    findings = world.examine("archive")
    assert [each["check"] for each in findings] == ALL_IN_ORDER
    assert [each["status"] for each in findings] == ["ok"] * len(findings)
    assert [each["fix"] for each in findings] == [None] * len(findings)


# --- the token -------------------------------------------------------------------------------------------------------


def test_a_secret_without_a_token_is_a_problem_and_ica_is_not_asked(world: World) -> None:
    world.tokens.trouble = UnusableSecret("the secret is empty; store the bare token as the secret's text")
    assert world.bad("archive") == [
        ("token", None, "problem"),
        ("token_expiry", None, "unknown"),
        ("ica", None, "unknown"),
        ("channel", None, "unknown"),
        ("project", "archive", "unknown"),
        ("rights", "archive", "unknown"),
        ("subscription", "archive", "unknown"),
    ]
    assert "the secret is empty" in world.finding("token")["what"]
    assert world.ica.calls == []


@pytest.mark.parametrize(
    ("days", "status", "said"),
    [
        (7.5, "ok", "it is valid until 2024-06-04 15:12 UTC, for 7.5 days"),
        (6.5, "warning", "it is valid until 2024-06-03 15:12 UTC, for 6.5 days"),
        (0, "problem", "it expired at 2024-05-28 03:12 UTC"),
        (-1, "problem", "it expired at 2024-05-27 03:12 UTC"),
    ],
)
def test_a_token_that_expires_soon_is_a_warning_and_one_that_has_a_problem(
    world: World, days: float, status: str, said: str
) -> None:
    world.tokens.text = jwt(exp=(world.clock() + timedelta(days=days)).timestamp(), sub="copier@example.com")
    found = world.finding("token_expiry")
    assert (found["status"], found["what"]) == (status, said)


@pytest.mark.parametrize(
    "token", ["no-jwt", "a.b", "a.%%%.c", "a.WzFd.c", jwt(), jwt(exp="soon"), jwt(exp=True), jwt(exp=1e300)]
)
def test_a_token_that_does_not_say_when_it_expires_is_unknown(world: World, token: str) -> None:
    world.tokens.text = token
    assert world.finding("token_expiry")["status"] == "unknown"


def test_a_token_that_ica_does_not_take_is_a_problem_and_nothing_else_is_asked(world: World) -> None:
    world.ica.trouble("check_token", IcaUnavailable("ICA answered 401 wrong", http_status=401))
    found = {each["check"]: each for each in world.examine("archive")}
    assert found["ica"]["status"] == "problem"
    assert found["ica"]["what"] == "ICA does not take the token: ICA answered 401 wrong"
    assert "docs/deploy.md, The token" in found["ica"]["fix"]
    assert [found[each]["status"] for each in ("channel", "project", "rights", "subscription")] == ["unknown"] * 4
    assert found["channel"]["fix"] == "see the finding on ica"
    assert [name for name, *_ in world.ica.calls] == ["check_token"]


@pytest.mark.parametrize(
    "error", [IcaUnavailable("ICA answered 503", http_status=503), IcaRefused("ICA answered 403", http_status=403)]
)
def test_an_ica_that_does_not_answer_is_a_problem(world: World, error: Exception) -> None:
    world.ica.trouble("check_token", error)  # type: ignore[arg-type]
    found = world.finding("ica")
    assert (found["status"], found["what"]) == ("problem", f"ICA does not answer: {error}")
    assert found["fix"].endswith("https://ica")


# --- projects --------------------------------------------------------------------------------------------------------


def test_a_project_that_the_user_does_not_see_is_a_problem(world: World) -> None:
    assert world.bad("nobody's", "clinic") == [
        ("project", "nobody's", "problem"),
        ("rights", "nobody's", "unknown"),
        ("subscription", "nobody's", "unknown"),
    ]
    found = world.finding("project", "nobody's", "nobody's")
    assert found["what"].startswith("the token's user does not see it: no project named")
    assert found["fix"] == "add the token's user to the project in ICA, with the role Contributor and upload allowed"


def test_a_project_is_called_by_its_name_and_its_id(world: World) -> None:
    assert world.finding("project", "archive")["what"] == "its id is project-1"
    assert world.finding("project", "project-1", "project-1")["what"] == "it is called 'archive'"


WORKGROUP = Permission("CONTRIBUTOR", may_upload=True)
STRANGER = replace(MEMBER, names=frozenset({"somebody@example.com"}))


@pytest.mark.parametrize(
    ("members", "status", "said"),
    [
        ([STRANGER, MEMBER], "ok", "role CONTRIBUTOR, upload allowed"),
        ([replace(MEMBER, role="ADMINISTRATOR")], "ok", "role ADMINISTRATOR, upload allowed"),
        ([replace(MEMBER, role="VIEWER"), STRANGER], "problem", "the token's user has role VIEWER, upload allowed"),
        ([replace(MEMBER, may_upload=False)], "problem", "the token's user has role CONTRIBUTOR, upload not allowed"),
        (
            [replace(MEMBER, role="VIEWER"), MEMBER],
            "ok",
            "role VIEWER, upload allowed; role CONTRIBUTOR, upload allowed",
        ),
        ([replace(MEMBER, role="VIEWER"), WORKGROUP], "unknown", "workgroups may do more"),
        ([replace(MEMBER, role="VIEWER"), replace(WORKGROUP, role="VIEWER")], "problem", "has role VIEWER"),
        ([STRANGER, WORKGROUP], "unknown", "the token names none of its members"),
        ([], "unknown", "the token names none of its members"),
    ],
)
def test_the_rights_in_a_project_are_told_as_far_as_they_can_be(
    world: World, members: list[Permission], status: str, said: str
) -> None:
    world.ica.members["project-1"] = members
    found = world.finding("rights")
    assert found["status"] == status
    assert said in found["what"]


def test_rights_that_ica_does_not_show_are_unknown(world: World) -> None:
    world.ica.trouble("permissions", IcaRefused("ICA answered 403", http_status=403))
    found = world.finding("rights")
    assert (found["status"], found["what"][-16:]) == ("unknown", "ICA answered 403")
    assert world.bad() == []


def test_a_token_that_names_nobody_leaves_the_rights_unknown(world: World) -> None:
    world.tokens.text = "no-jwt"
    assert world.bad() == [("token_expiry", None, "unknown"), ("rights", "archive", "unknown")]


def test_without_a_project_the_destinations_of_open_and_recent_copies_are_looked_at(world: World) -> None:
    world.create("icav2://settled/to/", copy_id="settled", due_in=timedelta(days=1))
    for job in list(world.table.jobs("settled")):
        running = doubles.run(world.table, job, world.clock(), ica_project_id="settled")
        assert world.table.mark_passed(running, running.ended_attempt("SUCCEEDED", None, world.clock()), world.clock())
    world.create("icav2://running/to/", copy_id="running")
    (job,) = world.table.jobs("running")
    doubles.run(world.table, job, world.clock(), ica_project_id="running")
    planned = [PlannedJob("icav2://waiting/to/", tuple(world.sources))]
    world.table.create_backlogs(backlogs_of("waiting", planned, "2024-05-28T00:00:00.000Z"))
    world.clock.forward(seconds=1)
    assert [each["about"] for each in world.examine() if each["check"] == "project"] == [
        "waiting",
        "running",
        "settled",
    ]
    world.clock.forward(days=31)
    assert [each["about"] for each in world.examine() if each["check"] == "project"] == ["waiting", "running"]


def test_a_project_of_which_no_slot_is_in_use_any_more_is_not_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.table, "slots_in_use", lambda: Counter({"once": 0, "now": 1}))
    assert [each["about"] for each in world.examine() if each["check"] == "project"] == ["now"]


def test_without_any_copy_no_project_is_looked_at(world: World) -> None:
    (found,) = [each for each in world.examine() if each["status"] != "ok"]
    assert (found["check"], found["about"], found["status"]) == ("project", None, "unknown")
    assert found["fix"] == "icav2-copy doctor --project PROJECT"


# --- notifications ---------------------------------------------------------------------------------------------------


def test_an_address_that_is_too_long_for_ica_is_a_warning(world: World) -> None:
    world.address = QUEUE + "x" * 50
    found = world.finding("address")
    assert (found["status"], found["what"][:70]) == (
        "warning",
        "the notification queue's URL has 107 characters, and ICA takes 100: IC",
    )
    assert found["fix"] == "deploy the stack under a name that is shorter by 7"


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ([], "does not exist, or the token's user does not see it"),
        ([Channel("1", "https://sqs/other")], "does not exist, or the token's user does not see it"),
        ([Channel("1", QUEUE, is_enabled=False)], "is disabled"),
    ],
)
def test_a_channel_that_does_not_work_is_a_warning(world: World, channels: list[Channel], said: str) -> None:
    world.ica.known_channels = channels
    found = world.finding("channel")
    assert (found["status"], found["fix"]) == ("warning", "icav2-copy subscribe PROJECT…")
    assert found["what"] == f"the channel to the notification queue {said}"


ENABLED, DISABLED = Channel("1", QUEUE), Channel("1", QUEUE, is_enabled=False)


@pytest.mark.parametrize(
    ("subscriptions", "said"),
    [
        ([], "ICA does not tell this stack of the project's jobs: only the poller asks"),
        ([Subscription("1", Channel("2", "https://sqs/other"))], "ICA does not tell this stack"),
        ([Subscription("1", ENABLED, is_enabled=False)], "it is disabled"),
        ([Subscription("1", DISABLED)], "its channel is disabled"),
        ([Subscription("1", ENABLED, filter="a = b")], "it has a filter, so that not all jobs may be told: a = b"),
    ],
)
def test_a_project_without_a_subscription_that_works_is_a_warning(
    world: World, subscriptions: list[Subscription], said: str
) -> None:
    world.ica.subscribed["project-1"] = subscriptions
    assert world.bad("archive", "clinic") == [("subscription", "archive", "warning")]
    found = world.finding("subscription")
    assert found["what"].startswith(said)
    assert found["fix"] == ("remove it in ICA's web interface" if "filter" in said else "icav2-copy subscribe archive")


# --- queues ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limit"), [("ingest", 900), ("launch", 900), ("notification", 300)])
def test_a_queue_in_which_messages_grow_old_is_a_warning(world: World, name: str, limit: float) -> None:
    world.deployed.queues[NAMES.queues[name]] = Messages(3, 2)
    for age, status in ((limit, "ok"), (limit + 60, "warning")):
        world.deployed.measured = {NAMES.queues[name]: age}
        found = world.finding("queue", name)
        assert (found["status"], found["what"]) == (
            status,
            f"3 waiting, 2 being handled, the oldest for {age / 60:.0f} min",
        )
    assert f"{name if name != 'notification' else 'notify'} function's log" in found["fix"]


def test_an_age_that_cloudwatch_does_not_tell_is_said(world: World) -> None:
    world.deployed.queues[NAMES.queues["launch"]] = Messages(3)
    assert world.finding("queue", "launch")["what"].endswith("how old the oldest is CloudWatch does not tell")
    world.deployed.measured = {NAMES.queues["ingest"]: 9000}
    assert world.finding("queue", "ingest")["status"] == "ok", "an age of what has been handled meanwhile"


@pytest.mark.parametrize("name", ["ingest", "launch", "publish"])
@pytest.mark.parametrize("messages", [Messages(1), Messages(0, 1)])
def test_a_dead_letter_is_a_problem_with_what_to_do(world: World, name: str, messages: Messages) -> None:
    world.deployed.queues[NAMES.dead_letter_queues[name]] = messages
    assert world.bad() == [("dead_letters", name, "problem")]
    found = world.finding("dead_letters", name)
    assert found["what"] == "1 dead letter"
    assert "aws sqs " in found["fix"]
    assert "docs/operations.md, Dead letters" in found["fix"]


# --- alarms ----------------------------------------------------------------------------------------------------------


def test_an_alarm_that_rings_is_a_problem_in_its_own_words(world: World) -> None:
    world.deployed.known[1] = Alarm(
        "copy-B", rings=True, since="2024-05-28T03:00:00.000Z", means="A job", tells=(TOPIC,)
    )
    found = world.finding("alarms")
    assert (found["status"], found["what"]) == ("problem", "copy-B since 2024-05-28T03:00:00.000Z: A job")


def test_an_alarm_that_was_taken_away_is_a_warning(world: World) -> None:
    del world.deployed.known[0]
    found = world.finding("alarms")
    assert (found["status"], found["what"]) == ("warning", "these do not exist any more: copy-A")


def tell(*told: tuple[str, ...]) -> list[Alarm]:
    return [Alarm(name, rings=False, tells=each) for name, each in zip(NAMES.alarms, told, strict=True)]


@pytest.mark.parametrize(
    ("alarms", "topics", "status", "said"),
    [
        (tell((), ()), {}, "warning", "no alarm tells anybody"),
        (tell((TOPIC,), ()), {TOPIC: 1}, "warning", "nobody hears copy-B"),
        (tell((TOPIC,), (TOPIC,)), {}, "warning", f"the topic {TOPIC} is not there"),
        (tell((TOPIC,), (TOPIC,)), {TOPIC: 0}, "warning", f"nobody has subscribed to {TOPIC}, or confirmed it"),
        (tell((TOPIC,), (TOPIC,)), {TOPIC: 2}, "ok", f"they notify {TOPIC}"),
        (tell(("arn:aws:lambda:x",), ("arn:aws:lambda:x",)), {}, "ok", "they notify arn:aws:lambda:x"),
    ],
)
def test_alarms_that_nobody_hears_are_a_warning(
    world: World, alarms: list[Alarm], topics: dict[str, int], status: str, said: str
) -> None:
    world.deployed.known, world.deployed.topics = alarms, topics
    found = world.finding("alarm_listeners")
    assert (found["status"], found["what"]) == (status, said)


# --- the poller and the bus ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "said", "fix"),
    [
        ({}, "is not there", "deploy the stack again"),
        ({NAMES.poll_rule: False}, "is disabled", "aws events enable-rule --name copy-EveryMinute"),
    ],
)
def test_a_poller_without_its_schedule_is_a_problem(world: World, rules: dict[str, bool], said: str, fix: str) -> None:
    world.deployed.rules = rules
    found = world.finding("poller")
    assert (found["status"], found["what"], found["fix"]) == (
        "problem",
        f"its schedule, the rule copy-EveryMinute, {said}",
        fix,
    )


@pytest.mark.parametrize(
    ("minutes", "status", "said"),
    [
        (1, "ok", "it was called last at 2024-05-28 03:11 UTC"),
        (6, "problem", "it was called last at 2024-05-28 03:06 UTC"),
        (600, "unknown", "CloudWatch has counted no call of it yet"),
    ],
)
def test_a_poller_that_is_not_called_is_a_problem(world: World, minutes: int, status: str, said: str) -> None:
    world.deployed.ran_at = world.clock() - timedelta(minutes=minutes)
    found = world.finding("poller")
    assert found["status"] == status
    assert found["what"].endswith(said)


def test_a_poller_that_is_at_work_needs_no_measurement(world: World) -> None:
    world.deployed.trouble["last_run"] = RuntimeError("not allowed")
    now = world.clock()
    assert world.table.hold_lease(LEASE_NAME, "a poll", now, now + timedelta(seconds=60))
    assert world.finding("poller")["what"] == "its schedule is enabled, and it is at work"
    world.clock.forward(seconds=61)
    assert world.finding("poller")["status"] == "unknown"


def test_a_bus_that_is_not_there_is_a_problem(world: World) -> None:
    world.deployed.buses.clear()
    found = world.finding("bus")
    assert (found["about"], found["status"]) == ("my-bus", "problem")
    assert found["fix"] == "aws events create-event-bus --name my-bus"


# --- the table -------------------------------------------------------------------------------------------------------


def test_what_is_paused_is_a_warning(world: World) -> None:
    assert world.table.pause(Paused("all", "2024-05-28T03:00:00.000Z", "ann", "maintenance"))
    found = world.finding("pauses")
    assert (found["status"], found["what"]) == (
        "warning",
        "paused: all since 2024-05-28T03:00:00.000Z by ann (maintenance)",
    )


def test_undecided_launches_are_a_problem(world: World) -> None:
    jobs = world.create(*(f"icav2://archive/{number}/" for number in range(7)))
    now = world.clock()
    for job in jobs:
        assert world.table.claim_for_launch(job, "project-1", now, now, Slots()) is Claim.CLAIMED
    assert world.finding("undecided")["status"] == "ok", "a launch that is under way is none"
    for job in jobs:
        claimed = world.now(job)
        assert world.table.record_intent(claimed, Intent.of("", "fol.1", ["fil.1"]), now, 0)
        assert world.table.mark_undecided(world.now(job), now, doubles.hold("two fit", HoldReason.UNDECIDED))
    found = world.finding("undecided")
    assert found["status"] == "problem"
    assert "for job 000001 of run since 2024-05-28T03:12:00.000Z, job 000002 of run" in found["what"]
    assert found["what"].endswith("and 2 more")
    assert "icav2-copy adopt ID JOB ICA_JOB" in found["fix"]


# --- whatever breaks -------------------------------------------------------------------------------------------------

BREAKS: dict[str, Callable[[World], object]] = {
    "channel": lambda world: world.ica.trouble("channels", IcaUnavailable("down")),
    "project": lambda world: world.ica.trouble("project_name", IcaUnavailable("down")),
    "subscription": lambda world: world.ica.trouble("subscriptions", IcaUnavailable("down")),
    "dead_letters": lambda world: world.deployed.trouble.update(messages=RuntimeError("down")),
    "alarms": lambda world: world.deployed.trouble.update(alarms=RuntimeError("down")),
    "alarm_listeners": lambda world: world.deployed.trouble.update(listeners=RuntimeError("down")),
    "poller": lambda world: world.deployed.trouble.update(rule_is_enabled=RuntimeError("down")),
    "bus": lambda world: world.deployed.trouble.update(bus_is_there=RuntimeError("down")),
}


@pytest.mark.parametrize("check", BREAKS)
def test_a_look_that_breaks_is_unknown_and_the_others_go_on(world: World, check: str) -> None:
    BREAKS[check](world)
    findings = world.examine("archive")
    assert [each["check"] for each in findings] == ALL_IN_ORDER
    broken = [each for each in findings if each["check"] == check]
    assert {each["status"] for each in broken} == {"unknown"}
    assert {each["what"] for each in broken} == {"it could not be looked at: down"}


def test_a_table_that_cannot_be_read_is_told_and_the_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("throttled")

    for method in ("backlogs", "pauses", "jobs_in"):
        monkeypatch.setattr(world.table, method, broken)
    assert [(each["check"], each["status"]) for each in world.examine() if each["status"] != "ok"] == [
        ("project", "unknown"),
        ("pauses", "unknown"),
        ("undecided", "unknown"),
    ]
