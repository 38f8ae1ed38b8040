"""How operators set ICA up: our client on the simulated ICA, and beside it the double that the unit tests use."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest

from icav2_copy_batch.adapters.ica import setup
from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.domain.ica import IcaAnswerLost, IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.notifications import Channel, Subscription
from icav2_copy_batch.domain.rights import Permission
from icav2_copy_batch.ports import IcaSetup
from local.simulator.bodies import OWNER
from local.simulator.model import ChannelRequest, SubscriptionRequest
from tests import doubles
from tests.doubles.simulated_ica import SimulatedIca, Tokens

QUEUE = "https://sqs.ap-southeast-2.amazonaws.com/123456789012/copy-ica"
CHANNELS = "/api/notificationChannels"
SUBSCRIPTIONS = "/api/projects/{project_id}/notificationSubscriptions"
USER = frozenset({OWNER, "simulator@example.com"})
MEMBER = Permission("CONTRIBUTOR", may_upload=True, names=USER)
NOBODYS = "5fa5cdd5-9e8f-4ab2-8a0c-3a0f3f4d5a11"


def setup_of(ica: SimulatedIca, seconds: float = 300) -> setup.IcaSetup:
    start = ica.clock()
    http = Http(
        base_url=ica.stage.base,
        tokens=Tokens(),
        seconds_left=lambda: seconds - (ica.clock() - start).total_seconds(),
        sleep=ica.sleep,
        monotonic=lambda: ica.clock.now.timestamp(),
        clock=ica.clock,
    )
    return setup.IcaSetup(http=http)


# --- what is true of both --------------------------------------------------------------------------------------------


class Either(ABC):
    """An ICA with a project called *destination*."""

    ica: IcaSetup
    destination: str

    @abstractmethod
    def disable(self, what: str) -> None:
        """Disable all channels, or all subscriptions."""

    @abstractmethod
    def lose(self, method: str) -> None:
        """Lose the answer to the next call of this method, which is carried out."""


class Small(Either):
    def __init__(self) -> None:
        self.double = doubles.SmallSetup(projects={"destination": "destination-id"})
        self.double.members["destination-id"] = [MEMBER]
        self.ica, self.destination = self.double, "destination-id"

    def disable(self, what: str) -> None:
        double = self.double
        for project_id, known in double.subscribed.items():
            double.subscribed[project_id] = [
                Subscription(each.subscription_id, self._channel(each.channel, what), what != "subscriptions")
                for each in known
            ]
        double.known_channels = [self._channel(each, what) for each in double.known_channels]

    def _channel(self, channel: Channel, what: str) -> Channel:
        return Channel(channel.channel_id, channel.address, channel.is_enabled and what != "channels")

    def lose(self, method: str) -> None:
        self.double.trouble(method, IcaAnswerLost("lost"))


class Simulated(Either):
    def __init__(self, ica: SimulatedIca) -> None:
        self.simulated, self.ica, self.destination = ica, setup_of(ica), ica.destination

    def disable(self, what: str) -> None:
        world = self.simulated.world
        for each in world.channels.values() if what == "channels" else world.subscriptions:
            object.__setattr__(each.asked, "enabled", False)

    def lose(self, method: str) -> None:
        path = "Channels" if "channel" in method else "Subscriptions"
        self.simulated.fault("drop_after", "POST", path, count=1)


@pytest.fixture(params=["small", "simulated"])
def either(request: pytest.FixtureRequest) -> Either:
    return Small() if request.param == "small" else Simulated(request.getfixturevalue("ica"))


def test_what_is_made_is_listed(either: Either) -> None:
    assert (either.ica.channels(), either.ica.subscriptions(either.destination)) == ([], [])
    channel_id = either.ica.create_channel(QUEUE)
    assert either.ica.channels() == [Channel(channel_id, QUEUE)]
    subscription_id = either.ica.create_subscription(either.destination, channel_id)
    assert either.ica.subscriptions(either.destination) == [Subscription(subscription_id, Channel(channel_id, QUEUE))]


@pytest.mark.parametrize("what", ["channels", "subscriptions"])
def test_what_is_disabled_is_listed_as_such_and_can_be_enabled(either: Either, what: str) -> None:
    channel_id = either.ica.create_channel(QUEUE)
    subscription_id = either.ica.create_subscription(either.destination, channel_id)
    either.disable(what)
    (known,) = either.ica.subscriptions(either.destination)
    assert (known.is_enabled, known.channel.is_enabled, known.works) == (
        what != "subscriptions",
        what != "channels",
        False,
    )
    if what == "channels":
        either.ica.enable_channel(channel_id)
    else:
        either.ica.enable_subscription(either.destination, subscription_id)
    assert either.ica.channels() == [Channel(channel_id, QUEUE)]
    assert either.ica.subscriptions(either.destination) == [Subscription(subscription_id, Channel(channel_id, QUEUE))]


@pytest.mark.parametrize("method", ["create_channel", "create_subscription"])
def test_an_answer_that_is_lost_is_said_to_be_and_what_was_made_is_listed(either: Either, method: str) -> None:
    channel_id = either.ica.create_channel(QUEUE) if method == "create_subscription" else ""
    either.lose(method)
    arguments = [either.destination, channel_id] if channel_id else [QUEUE]
    with pytest.raises(IcaAnswerLost):
        getattr(either.ica, method)(*arguments)
    assert len(either.ica.channels()) == 1
    assert len(either.ica.subscriptions(either.destination)) == (1 if channel_id else 0)


def test_a_project_is_known_by_its_name_and_id(either: Either) -> None:
    assert either.ica.project_id("destination") == either.ica.project_id(either.destination) == either.destination
    with pytest.raises(IcaRefused, match="nobody"):
        either.ica.project_id("nobody's")
    assert either.ica.project_name(either.destination) == "destination"
    with pytest.raises(IcaRefused):
        either.ica.project_name(NOBODYS)


def test_a_token_that_is_taken_needs_no_more(either: Either) -> None:
    either.ica.check_token()


def test_the_members_of_a_project_are_told(either: Either) -> None:
    assert either.ica.permissions(either.destination) == [MEMBER]


# --- of our client ---------------------------------------------------------------------------------------------------


def test_only_what_tells_a_queue_of_jobs_is_listed(ica: SimulatedIca) -> None:
    client = setup_of(ica)
    mail = ica.world.add_channel(ChannelRequest(True, "MAIL", QUEUE))
    queue = ica.world.add_channel(ChannelRequest(True, "SQS", QUEUE))
    for code, channel in (("ICA_JOB_001", mail), ("ICA_DATA_100", queue), ("ICA_JOB_001", queue)):
        wanted = SubscriptionRequest(True, code, channel.id, filter_expression="a filter")
        ica.world.subscribe(ica.destination, wanted)
    assert client.channels() == [Channel(queue.id, QUEUE)]
    (known,) = client.subscriptions(ica.destination)
    assert (known.channel, known.filter) == (Channel(queue.id, QUEUE), "a filter")
    assert client.subscriptions(ica.source) == []


def test_to_enable_changes_nothing_else(ica: SimulatedIca) -> None:
    client = setup_of(ica)
    channel = ica.world.add_channel(ChannelRequest(False, "SQS", QUEUE, "ap-southeast-2"))
    wanted = SubscriptionRequest(False, "ICA_JOB_001", channel.id, "a filter")
    subscription = ica.world.subscribe(ica.destination, wanted)
    client.enable_channel(channel.id)
    client.enable_subscription(ica.destination, subscription.id)
    assert channel.asked == ChannelRequest(True, "SQS", QUEUE, "ap-southeast-2")
    assert subscription.asked == SubscriptionRequest(True, "ICA_JOB_001", channel.id, "a filter")


def test_the_right_is_missing(ica: SimulatedIca) -> None:
    ica.set(manage_notifications="refused")
    with pytest.raises(IcaRefused) as refused:
        setup_of(ica).create_channel(QUEUE)
    assert (refused.value.http_status, ica.calls("POST", CHANNELS)) == (403, 1)


def test_an_address_that_ica_does_not_take_is_refused_before_it_is_sent(ica: SimulatedIca) -> None:
    with pytest.raises(IcaRefused, match="at most 100 characters"):
        setup_of(ica).create_channel(QUEUE + "x" * 100)
    assert ica.sim.calls.total() == 0


@pytest.mark.parametrize(
    ("fault", "details", "error"),
    [
        ("drop_after", {}, IcaAnswerLost),
        ("drop_before", {}, IcaAnswerLost),
        ("status", {"status": 500}, IcaAnswerLost),
        ("html", {"status": 200}, IcaAnswerLost),
        ("status", {"status": 409}, IcaUnavailable),
    ],
)
@pytest.mark.parametrize("method", ["create_channel", "create_subscription"])
def test_what_may_have_been_made_is_not_made_twice(
    ica: SimulatedIca, fault: str, details: dict[str, int], error: type[IcaError], method: str
) -> None:
    client = setup_of(ica)
    path = CHANNELS if method == "create_channel" else SUBSCRIPTIONS
    arguments = [QUEUE] if method == "create_channel" else [ica.destination, client.create_channel(QUEUE)]
    before = ica.calls("POST", path)
    ica.fault(fault, "POST", **details)  # type: ignore[arg-type]
    with pytest.raises(error):
        getattr(client, method)(*arguments)
    assert ica.calls("POST", path) == before + 1


def test_a_call_that_ica_has_surely_not_carried_out_is_tried_again(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", count=2, status=429)
    assert setup_of(ica).create_channel(QUEUE)
    assert ica.calls("POST", CHANNELS) == 3


def test_a_project_that_is_not_there_is_refused(ica: SimulatedIca) -> None:
    with pytest.raises(IcaRefused, match="404"):
        setup_of(ica).subscriptions(NOBODYS)


def test_there_is_a_pause_only_where_time_is_left_for_it(ica: SimulatedIca) -> None:
    assert setup_of(ica).wait(5)
    assert ica.slept == [5]
    assert not setup_of(ica, seconds=20).wait(5)


@pytest.mark.parametrize(
    ("kind", "names"), [("USER", USER), ("EMAIL", USER), ("WORKGROUP", frozenset())], ids=["user", "email", "workgroup"]
)
def test_members_are_users_by_all_their_names_or_workgroups(
    ica: SimulatedIca, kind: str, names: frozenset[str]
) -> None:
    ica.set(permission_of=kind, project_role="VIEWER", upload_allowed=False)
    assert setup_of(ica).permissions(ica.destination) == [Permission("VIEWER", may_upload=False, names=names)]


def test_members_that_are_not_shown_are_refused(ica: SimulatedIca) -> None:
    ica.set(read_permissions="refused")
    with pytest.raises(IcaRefused, match="403"):
        setup_of(ica).permissions(ica.destination)


def test_a_token_that_is_not_taken_is_told(ica: SimulatedIca) -> None:
    ica.sim.replace_token("another")
    with pytest.raises(IcaUnavailable) as refused:
        setup_of(ica).check_token()
    assert refused.value.http_status == 401
