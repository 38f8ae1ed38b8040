"""Subscribe: one channel and one subscription for each project, however often it is asked for, whatever is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from icav2_copy_batch.domain.ica import IcaAnswerLost, IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.notifications import Channel, Subscription
from icav2_copy_batch.domain.requests import CannotDo, Failure, SubscribeProjects
from icav2_copy_batch.operators.subscribe import LEASE_NAME, Subscribe
from tests import doubles

QUEUE = "https://sqs.ap-southeast-2.amazonaws.com/123456789012/copy-ica"
OTHER = "https://sqs.ap-southeast-2.amazonaws.com/123456789012/other"


@dataclass
class World:
    ica: doubles.SmallSetup = field(default_factory=doubles.SmallSetup)
    table: doubles.Table = field(default_factory=doubles.Table)
    clock: doubles.Clock = field(default_factory=doubles.Clock)
    address: str = QUEUE

    def subscribe(self, *projects: str) -> list[dict[str, Any]]:
        stage = Subscribe(ica=self.ica, leases=self.table, address=self.address, clock=self.clock)
        answer = stage.subscribe(SubscribeProjects(projects=projects))
        assert answer["address"] == self.address
        told: list[dict[str, Any]] = answer["projects"]
        return told

    def statuses(self, *projects: str) -> list[str]:
        return [str(each["status"]) for each in self.subscribe(*projects)]

    @property
    def made(self) -> tuple[int, list[int]]:
        """How many channels there are, and how many subscriptions in each project."""
        return len(self.ica.known_channels), [len(self.ica.subscribed[each]) for each in ("project-1", "project-2")]


@pytest.fixture
def world() -> World:
    return World()


def test_projects_share_one_channel_and_get_one_subscription_each(world: World) -> None:
    told = world.subscribe("archive", "project-2")
    assert [(each["project"], each["project_id"], each["status"]) for each in told] == [
        ("archive", "project-1", "subscribed"),
        ("project-2", "project-2", "subscribed"),
    ]
    assert world.made == (1, [1, 1])
    assert world.ica.known_channels[0].address == QUEUE


def test_again_nothing_new_is_made(world: World) -> None:
    world.subscribe("archive")
    assert world.statuses("archive", "archive", "project-1", "clinic") == ["there", "there", "subscribed"]
    assert world.made == (1, [1, 1])
    assert world.statuses("archive", "clinic") == ["there", "there"]
    assert world.made == (1, [1, 1])


def test_channels_and_subscriptions_to_other_places_are_let_be(world: World) -> None:
    other = Channel("other", OTHER)
    world.ica.known_channels.append(other)
    world.ica.subscribed["project-1"].append(Subscription("of others", other))
    assert world.statuses("archive") == ["subscribed"]
    assert world.made == (2, [2, 0])


def test_a_subscription_to_a_channel_that_the_list_does_not_show_will_do(world: World) -> None:
    """Another user may have made it."""
    world.ica.subscribed["project-1"].append(Subscription("of others", Channel("hidden", QUEUE)))
    assert world.statuses("archive") == ["there"]
    assert world.ica.called("create_channel") == 0


@pytest.mark.parametrize(
    ("channel", "subscription", "said"),
    [
        (False, True, "its channel had been disabled"),
        (True, False, "its subscription had been disabled"),
        (False, False, "its channel and its subscription had been disabled"),
    ],
)
def test_what_is_disabled_is_enabled_and_said(world: World, channel: bool, subscription: bool, said: str) -> None:
    world.subscribe("archive", "clinic")
    ours = Channel("channel-1", QUEUE, is_enabled=channel)
    world.ica.known_channels = [ours]
    for project_id in ("project-1", "project-2"):
        world.ica.subscribed[project_id] = [Subscription("subscription-1", ours, is_enabled=subscription)]
    told = world.subscribe("archive", "clinic")
    assert [(each["status"], each["detail"]) for each in told] == [("enabled", said)] * 2
    assert all(each.works for known in world.ica.subscribed.values() for each in known)
    assert world.ica.called("enable_channel") == (0 if channel else 1)
    assert world.statuses("archive") == ["there"]


def test_a_disabled_channel_is_enabled_for_a_new_subscription(world: World) -> None:
    world.ica.known_channels.append(Channel("channel-1", QUEUE, is_enabled=False))
    assert world.statuses("archive") == ["subscribed"]
    assert world.ica.known_channels == [Channel("channel-1", QUEUE)]


def test_of_several_subscriptions_one_that_works_and_has_no_filter_counts(world: World) -> None:
    channel = Channel("channel-1", QUEUE)
    known = [
        Subscription("1", channel, is_enabled=False),
        Subscription("2", channel, filter="a"),
        Subscription("3", channel),
    ]
    world.ica.subscribed["project-1"] = known
    (told,) = world.subscribe("archive")
    assert (told["status"], told["detail"]) == ("there", "it was subscribed already")
    world.ica.subscribed["project-1"] = known[:2]
    (told,) = world.subscribe("archive")
    assert (told["status"], told["detail"].rpartition("; ")[2]) == (
        "there",
        "it has a filter, so that not all jobs may be told: a",
    )


# --- refused, lost, late ---------------------------------------------------------------------------------------------

FORBIDDEN = IcaRefused("ICA answered 403 no", http_status=403)
LOST = IcaAnswerLost("ICA did not answer")
NOT_DONE = IcaAnswerLost("ICA answered 500", http_status=500)
THERE = IcaUnavailable("ICA answered 409", http_status=409)


def test_a_refusal_is_told_in_icas_words_and_the_other_projects_go_on(world: World) -> None:
    world.ica.trouble("create_subscription", FORBIDDEN)
    first, second, third = world.subscribe("archive", "nobody's", "clinic")
    assert (first["status"], first["detail"][:19]) == ("refused", "ICA answered 403 no")
    assert "has to have the right to manage this project's notifications" in first["detail"]
    assert (second["status"], second["project_id"]) == ("refused", None)
    assert second["detail"].startswith('no project named "nobody\'s"')
    assert "right" not in second["detail"]
    assert third["status"] == "subscribed"


def test_a_channel_that_is_refused_is_refused_to_each_project_that_needs_it(world: World) -> None:
    world.ica.subscribed["project-2"].append(Subscription("of others", Channel("hidden", QUEUE)))
    world.ica.trouble("create_channel", FORBIDDEN)
    assert world.statuses("archive", "clinic") == ["refused", "there"]


def test_an_address_that_is_too_long_names_the_remedy(world: World) -> None:
    world.address = "https://sqs.ap-southeast-2.amazonaws.com/123456789012/" + "x" * 50
    (told,) = world.subscribe("archive")
    assert told["status"] == "refused"
    assert "up to 100 characters, and the notification queue's URL has 104" in told["detail"]
    assert told["detail"].endswith("deploy the stack under a name that is shorter by 4")
    assert world.ica.called("create_channel") == 0


@pytest.mark.parametrize("method", ["create_channel", "create_subscription"])
@pytest.mark.parametrize(
    ("errors", "calls"),
    [([LOST], 1), ([NOT_DONE], 2), ([NOT_DONE, LOST], 2), ([NOT_DONE, NOT_DONE], 3)],
)
def test_after_a_lost_answer_the_list_is_read_before_the_call_is_repeated(
    world: World, method: str, errors: list[IcaError], calls: int
) -> None:
    world.ica.trouble(method, *errors)
    assert world.statuses("archive") == ["subscribed"]
    assert world.made == (1, [1, 0])
    assert world.ica.called(method) == calls
    assert len(world.ica.waited) == len(errors)


def test_a_conflict_may_mean_that_it_is_there(world: World) -> None:
    world.ica.trouble("create_channel", THERE)
    add_meanwhile(world.ica, lambda: world.ica.known_channels.append(Channel("channel-1", QUEUE)))
    assert world.statuses("archive") == ["subscribed"]
    assert world.made == (1, [1, 0])


def add_meanwhile(ica: doubles.SmallSetup, happens: Callable[[], None]) -> None:
    """Have something happen while we wait."""
    wait = ica.wait

    def waiting(seconds: float) -> bool:
        happens()
        return wait(seconds)

    ica.wait = waiting  # type: ignore[method-assign]


@pytest.mark.parametrize("has_time", [True, False])
def test_what_stays_unknown_is_told_and_done_by_the_next_run(world: World, has_time: bool) -> None:
    world.ica.has_time = has_time
    world.ica.trouble("create_subscription", *[NOT_DONE] * (3 if has_time else 1))
    (told,) = world.subscribe("archive")
    assert (told["status"], told["detail"]) == ("unavailable", "ICA answered 500; try again: what is done stays")
    assert world.ica.called("create_subscription") == (3 if has_time else 1)
    assert world.statuses("archive") == ["subscribed"]


def test_what_ica_cannot_do_now_is_not_repeated_by_us(world: World) -> None:
    """Its client has tried it as often as that pays."""
    world.ica.trouble("create_channel", IcaUnavailable("ICA answered 503", http_status=503))
    assert world.statuses("archive") == ["unavailable"]
    assert world.ica.called("create_channel") == 1


# --- several at once -------------------------------------------------------------------------------------------------


def test_two_do_not_run_at_once(world: World) -> None:
    now = world.clock()
    assert world.table.hold_lease(LEASE_NAME, "another", now, now + timedelta(minutes=1))
    with pytest.raises(CannotDo, match="another subscribe is under way") as refused:
        world.subscribe("archive")
    assert refused.value.failure is Failure.UNAVAILABLE
    assert world.ica.calls == []
    world.clock.forward(61)
    assert world.statuses("archive") == ["subscribed"]
    assert world.statuses("archive") == ["there"], "the lease was given back"


def test_a_run_that_dies_gives_its_lease_back(world: World) -> None:
    world.ica.trouble("create_channel", IcaError("something else"))
    with pytest.raises(IcaError):
        world.subscribe("archive")
    assert world.statuses("archive") == ["subscribed"]
