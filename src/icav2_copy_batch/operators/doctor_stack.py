"""What a doctor sees of the stack on AWS: queues, dead letters, alarms, the poller, the event bus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from icav2_copy_batch.domain.deployed import Alarm, Names
from icav2_copy_batch.domain.health import Look, Seen, ok, problem, unknown, warning
from icav2_copy_batch.domain.job import Clock, timestamp
from icav2_copy_batch.ports import DeployedStack, Leases
from icav2_copy_batch.stages.poll import LEASE_NAME

MEASURED = timedelta(minutes=10)
"""The newest age of a queue's oldest message is not older than this."""
RUNS_LOOKED_FOR = timedelta(hours=3)
SILENT = timedelta(minutes=5)
"""The poller is called each minute; CloudWatch counts a call after a minute or two."""
OLDEST = {"ingest": timedelta(minutes=15), "launch": timedelta(minutes=15), "notification": timedelta(minutes=5)}
"""How old a message of a queue may become while all is well."""
NAMES_SET = 'the variables are set by eval "$(icav2-copy env)"'

QUEUE_FIXES = {
    "ingest": "read the ingest function's log: AWS or ICA may not answer, or Lambda's concurrency may be used up",
    "launch": "read the launch function's log: ICA may be slow, or Lambda's concurrency may be used up",
    "notification": "read the notify function's log; until then the poller finds out by itself, a little later",
}
DEAD_LETTER_FIXES = {
    "ingest": "read the ingest function's log, fix the cause, and move them back: aws sqs start-message-move-task "
    '--source-arn "$INGEST_DEAD_LETTER_QUEUE_ARN" --destination-arn "$INGEST_QUEUE_ARN"',
    "launch": "the poller has sent others; read the launch function's log, fix the cause, and purge them: "
    'aws sqs purge-queue --queue-url "$LAUNCH_DEAD_LETTER_QUEUE_URL"',
    "publish": "the poller publishes these copies; read the publish function's log, fix the cause, and purge them: "
    'aws sqs purge-queue --queue-url "$PUBLISH_DEAD_LETTER_QUEUE_URL"',
}


@dataclass(kw_only=True)
class StackLooks:
    """Looks at the stack's own resources."""

    deployed: DeployedStack
    leases: Leases
    names: Names
    clock: Clock

    def looks(self) -> Iterator[Look]:
        for name, url in self.names.queues.items():
            yield Look("queue", name, lambda name=name, url=url: self._queue(name, url))  # type: ignore[misc]
        for name, url in self.names.dead_letter_queues.items():
            yield Look("dead_letters", name, lambda name=name, url=url: self._dead_letters(name, url))  # type: ignore[misc]
        yield Look("alarms", None, self._ringing)
        yield Look("alarm_listeners", None, self._listeners)
        yield Look("poller", None, self._poller)
        yield Look("bus", self.names.event_bus, self._bus)

    # --- queues ------------------------------------------------------------------------------------------------------

    def _queue(self, name: str, url: str) -> Seen:
        messages = self.deployed.messages(url)
        counts = f"{messages.waiting} waiting, {messages.in_flight} being handled"
        if not messages.waiting:
            return ok(counts)
        age = self._ages.get(url)
        if age is None:
            return ok(f"{counts}; how old the oldest is CloudWatch does not tell")
        told = f"{counts}, the oldest for {_duration(age)}"
        return warning(told, QUEUE_FIXES[name]) if age > OLDEST[name].total_seconds() else ok(told)

    @cached_property
    def _ages(self) -> dict[str, float]:
        now = self.clock()
        return dict(self.deployed.ages(list(self.names.queues.values()), now - MEASURED, now))

    def _dead_letters(self, name: str, url: str) -> Seen:
        count = self.deployed.messages(url).total
        if not count:
            return ok("none")
        said = "1 dead letter" if count == 1 else f"{count} dead letters"
        return problem(said, f"{DEAD_LETTER_FIXES[name]} (docs/operations.md, Dead letters; {NAMES_SET})")

    # --- alarms ------------------------------------------------------------------------------------------------------

    @cached_property
    def _described(self) -> list[Alarm]:
        return self.deployed.alarms(self.names.alarms)

    def _ringing(self) -> Seen:
        known = {alarm.name for alarm in self._described}
        if ringing := [alarm for alarm in self._described if alarm.rings]:
            told = [f"{alarm.name} since {alarm.since or 'some time'}: {alarm.means}" for alarm in ringing]
            return problem("; ".join(told), "see docs/operations.md, Alarms, for what each means and what to do")
        if missing := [name for name in self.names.alarms if name not in known]:
            return warning(f"these do not exist any more: {', '.join(missing)}", "deploy the stack again")
        return ok(f"none of {len(known)} is in ALARM")

    def _listeners(self) -> Seen:
        deaf = [alarm.name for alarm in self._described if not alarm.tells]
        if deaf:
            which = "no alarm tells anybody" if len(deaf) == len(self._described) else f"nobody hears {', '.join(deaf)}"
            return warning(
                which, "deploy the stack with AlarmTopicArn=<an SNS topic of yours>, and enable its alarms' actions"
            )
        told = sorted({arn for alarm in self._described for arn in alarm.tells})
        topics = [arn for arn in told if arn.split(":")[2:3] == ["sns"]]
        for topic in topics:
            listeners = self.deployed.listeners(topic)
            if listeners is None:
                return warning(
                    f"the topic {topic} is not there", "deploy the stack with AlarmTopicArn=<a topic that is there>"
                )
            if not listeners:
                subscribe = f"aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint ADDRESS"
                return warning(f"nobody has subscribed to {topic}, or confirmed it", subscribe)
        return ok(f"they notify {', '.join(told)}" if told else "there are none")

    # --- the poller and the bus --------------------------------------------------------------------------------------

    def _poller(self) -> Seen:
        rule = self.names.poll_rule
        is_enabled = self.deployed.rule_is_enabled(rule)
        if is_enabled is None:
            return problem(f"its schedule, the rule {rule}, is not there", "deploy the stack again")
        if not is_enabled:
            return problem(f"its schedule, the rule {rule}, is disabled", f"aws events enable-rule --name {rule}")
        now = self.clock()
        if (self.leases.lease_until(LEASE_NAME) or "") > timestamp(now):
            return ok("its schedule is enabled, and it is at work")
        last = self.deployed.last_run(self.names.poll_function, now - RUNS_LOOKED_FOR, now)
        log = "see whether it fails (its log) or is not called (Lambda's concurrency in this account)"
        if last is None:
            return unknown("its schedule is enabled; CloudWatch has counted no call of it yet", log)
        told = f"its schedule is enabled, and it was called last at {_minute(last)} UTC"
        return ok(told) if now - last <= SILENT else problem(told, log)

    def _bus(self) -> Seen:
        name = self.names.event_bus
        if self.deployed.bus_is_there(name):
            return ok("it is there")
        return problem(
            "there is no such event bus: no event is published", f"aws events create-event-bus --name {name}"
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _minute(moment: datetime) -> str:
    return timestamp(moment)[:16].replace("T", " ")
