"""``icav2-copy logs``, with a CloudWatch Logs Insights that each test scripts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.client import logs
from icav2_copy_batch.client.logs import FUNCTIONS, GIVE_UP_SECONDS
from tests.integration.aws_calls import AwsCalls, json_answer, text_of
from tests.integration.operators import deploy
from tests.integration.shell import COPY, DONE, JOBS, NO_SUCH_COPY, Terminal, lines, without_style
from tests.integration.template import listed, properties, statements, template

Row = list[dict[str, str]]


def row(message: object, at: str = "2024-05-28 03:13:00.000", function: str = "launch") -> Row:
    text = message if isinstance(message, str) else json.dumps(message)
    cells = {"@timestamp": at, "@message": text, "@log": f"123456789012:group-{function}", "@ptr": "x"}
    return [{"field": name, "value": value} for name, value in cells.items()]


def said(message: str, copy_id: str = "run-42", level: str = "INFO", **more: Any) -> dict[str, Any]:
    for_developers = {"location": "launch:307", "service": "the-stack"}
    return {"level": level, "message": message, **for_developers, "copy_id": copy_id, **more}


@dataclass
class Insights:
    """A query is answered by these statuses, look after look, the last for ever; and by these pages of rows."""

    rows: list[Row] = field(default_factory=list)
    statuses: list[str] = field(default_factory=lambda: ["Complete"])
    rows_a_page: int = 1000
    asked: list[dict[str, Any]] = field(default_factory=list)

    def start(self, request: AWSPreparedRequest) -> AWSResponse:
        self.asked.append(json.loads(text_of(request)))
        return json_answer(request, {"queryId": "q1"})

    def results(self, request: AWSPreparedRequest) -> AWSResponse:
        given = json.loads(text_of(request))
        assert given["queryId"] == "q1"
        first = int(given.get("nextToken", 0))
        last = first + self.rows_a_page
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        more = {"nextToken": str(last)} if last < len(self.rows) else {}
        return json_answer(request, {"status": status, "results": self.rows[first:last], **more})


@pytest.fixture
def insights(shell: Terminal, aws: AwsCalls) -> Insights:
    deploy({"LogGroupNames": ",".join(f"group-{name}" for name in FUNCTIONS)})
    found = Insights()
    aws.answer("StartQuery", found.start)
    aws.answer("GetQueryResults", found.results)
    shell.shows(DONE, jobs=JOBS)
    shell.clock.forward(24 * 60 * 60)
    return found


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_the_lines_about_a_copy_are_printed_the_oldest_first(shell: Terminal, insights: Insights) -> None:
    insights.rows = [
        row(said("copy published"), "2024-05-28 03:20:01.500", "publish"),
        row(said("copy batch started", job_id="000002", attempt=1, reason="two words", tags={"a": "é"}, by="")),
        row(said("copy accepted", jobs=2, cold_start=None), "2024-05-28 03:12:05.001", "ingest"),
    ]
    result = shell("logs", "run-42")
    assert (result.exit_code, result.stderr) == (Exit.DONE, "")
    assert lines(result.stdout) == [
        ["2024-05-28T03:12:05.001Z", "ingest", "INFO", "copy accepted", "-", "jobs=2"],
        [
            "2024-05-28T03:13:00.000Z", "launch", "INFO", "copy batch started", "000002",
            'attempt=1 reason="two words" tags={"a": "é"} by=""',
        ],
        ["2024-05-28T03:20:01.500Z", "publish", "INFO", "copy published", "-", "-"],
    ]  # fmt: skip
    assert insights.asked == [
        {
            "logGroupNames": [f"group-{name}" for name in FUNCTIONS],
            "startTime": seconds("2024-05-28T03:10:05"),
            "endTime": seconds("2024-05-28T03:35:01"),
            "queryString": 'fields @timestamp, @log, @message | filter copy_id = "run-42" | sort @timestamp desc',
            "limit": 10_000,
        }
    ]


def test_lines_of_one_millisecond_stand_as_they_were_logged(shell: Terminal, insights: Insights) -> None:
    insights.rows = [row(said(each)) for each in ("third", "second", "first")]
    assert [line[3] for line in lines(shell("logs", "run-42").stdout)] == ["first", "second", "third"]
    assert [line[3] for line in lines(shell("logs", "run-42", "--limit", "2").stdout)] == ["second", "third"]


def test_what_is_yet_to_come_is_not_asked_for(shell: Terminal, insights: Insights) -> None:
    result = shell("logs", "run-42", "--since", "2999-01-01")
    assert result.exit_code == Exit.USAGE
    assert "no logs since 2999-01-01T00:00:00.000Z, which is in the future" in result.stderr
    assert insights.asked == []


def test_what_is_not_about_the_copy_is_left_out_where_aws_does_not(shell: Terminal, insights: Insights) -> None:
    others = ["START RequestId: 1 run-42", '"run-42"', said("theirs", copy_id="run-421"), {"message": "of none"}]
    insights.rows = [*map(row, others), row(said("ours"))]
    assert [line[3] for line in lines(shell("logs", "run-42").stdout)] == ["ours"]


def test_the_lines_about_a_job_are_those_that_name_it(shell: Terminal, insights: Insights) -> None:
    insights.rows = [
        row(said("of another", job_id="000003")),
        row(said("of all", jobs=4)),
        row(said("of it", job_id="000002")),
        row(said("of some", jobs=["000001", "000002"])),
    ]
    assert {line[3] for line in lines(shell("logs", "run-42", "2").stdout)} == {"of it", "of some"}
    assert '| filter copy_id = "run-42" and @message like /"000002"/ |' in insights.asked[0]["queryString"]


def test_json_lines_have_all_that_was_logged(shell: Terminal, insights: Insights) -> None:
    document = said("job not moved on", level="ERROR", exception="Traceback\n  …", job_id="000002")
    insights.rows = [row(document, function="poll"), row(document, function="notify")]
    printed = [json.loads(line) for line in shell("logs", "run-42", "--json").stdout.splitlines()]
    assert printed == [
        {"at": "2024-05-28T03:13:00.000Z", "function": function, **document} for function in ("notify", "poll")
    ]


def test_on_a_terminal_a_trace_stands_below_its_line(shell: Terminal, insights: Insights) -> None:
    insights.rows = [row(said("oh", level="ERROR", exception="Traceback:\n  line [4]", job_id="000002", seconds=7))]
    printed = without_style(shell.pretty("logs", "run-42").stdout)
    assert [line.rstrip() for line in printed.splitlines()] == [
        "2024-05-28 03:13:00 launch  ERROR   oh  job=000002 seconds=7",
        "    Traceback:",
        "      line [4]",
    ]


def test_a_query_that_runs_is_waited_for(shell: Terminal, insights: Insights, aws: AwsCalls) -> None:
    insights.statuses = ["Scheduled", "Running", "Running", "Complete"]
    insights.rows = [row(said(f"{number}")) for number in range(5)]
    insights.rows_a_page = 2
    assert len(shell("logs", "run-42").stdout.splitlines()) == 5
    assert aws.count("GetQueryResults") == 4 + 2, "three looks in vain, and three pages"


def test_a_query_that_does_not_end_is_given_up(shell: Terminal, insights: Insights, aws: AwsCalls) -> None:
    aws.answer("StopQuery", lambda request: json_answer(request, {"success": True}))
    insights.statuses = ["Running"]
    began = shell.clock.now
    result = shell("logs", "run-42")
    assert (result.exit_code, result.stdout) == (Exit.UNAVAILABLE, "")
    assert "Error: a query of the logs did not end within 120 s; ask for less with --since" in result.stderr
    assert 0 <= (shell.clock.now - began).total_seconds() - GIVE_UP_SECONDS < 5
    assert aws.count("StopQuery") == 1


def test_a_query_that_fails_is_unavailable(shell: Terminal, insights: Insights) -> None:
    insights.statuses = ["Running", "Failed"]
    result = shell("logs", "run-42")
    assert (result.exit_code, result.stderr) == (
        Exit.UNAVAILABLE, "Error: a query of the logs has ended as Failed; try again\n",
    )  # fmt: skip


def test_what_is_cut_is_said(shell: Terminal, insights: Insights, monkeypatch: pytest.MonkeyPatch) -> None:
    insights.rows = [row(said(f"{number}"), f"2024-05-28 03:13:00.{999 - number:03}") for number in range(5)]
    result = shell("logs", "run-42", "--limit", "2")
    assert [line[3] for line in lines(result.stdout)] == ["1", "0"]
    assert "There is more: these are the newest 2 lines; see --limit, JOB and --since." in result.stderr
    assert shell("logs", "run-42", "--limit", "5").stderr == ""
    monkeypatch.setattr(logs, "MOST_LINES", 5)
    assert "There is more: these are the newest 5 lines" in shell("logs", "run-42", "--limit", "5").stderr


def test_no_lines_are_said(shell: Terminal, insights: Insights) -> None:
    result = shell("logs", "run-42")
    assert (result.exit_code, result.stdout, result.stderr) == (
        Exit.DONE, "", "No log lines. New lines take some seconds to appear.\n",
    )  # fmt: skip


def test_the_time_is_until_now_for_an_open_copy_and_from_a_moment_if_asked(shell: Terminal, insights: Insights) -> None:
    now = int(shell.clock.now.timestamp())
    shell("logs", "run-42", "--since", "2h")
    for still_open in (
        COPY,
        {**COPY, "open_jobs": 0, "settled_at": DONE["settled_at"]},
    ):  # the second is being published
        shell.shows(still_open)
        shell("logs", "run-42")
    assert [(each["startTime"], each["endTime"]) for each in insights.asked] == [
        (now - 2 * 60 * 60, now + 1),
        (seconds("2024-05-28T03:10:05"), now + 1),
        (seconds("2024-05-28T03:10:05"), now + 1),
    ]


def test_what_is_not_there_is_said(shell: Terminal, insights: Insights) -> None:
    missing = shell("logs", "run-42", "9")
    assert (missing.exit_code, insights.asked) == (Exit.NO_SUCH_COPY, [])
    shell.shows(NO_SUCH_COPY)
    assert shell("logs", "run-42").exit_code == Exit.NO_SUCH_COPY
    assert insights.asked == []


@pytest.mark.parametrize("limit", ["0", "10001"])
def test_a_limit_that_insights_does_not_take_is_a_usage_error(shell: Terminal, insights: Insights, limit: str) -> None:
    assert shell("logs", "run-42", "--limit", limit).exit_code == Exit.USAGE


def test_logs_that_have_expired_are_said(shell: Terminal, insights: Insights, aws: AwsCalls) -> None:
    why = "query's end date and time is either before the log groups creation time or exceeds the log groups log "
    refusal = {"__type": "MalformedQueryException", "message": f"{why}retention settings"}
    aws.answer("StartQuery", lambda request: json_answer(request, refusal, 400))
    result = shell("logs", "run-42")
    assert (result.exit_code, result.stderr) == (
        Exit.REFUSED, "Error: the logs of that time are not kept any more (LogRetentionDays)\n",
    )  # fmt: skip


def test_a_right_that_is_missing_is_said(shell: Terminal, insights: Insights, aws: AwsCalls) -> None:
    aws.refuse("StartQuery", "AccessDeniedException")
    result = shell("logs", "run-42")
    assert result.exit_code == Exit.UNAVAILABLE
    assert "AWS did not start a query of CloudWatch Logs Insights" in result.stderr
    assert "give this role the right" in result.stderr


def test_a_stack_that_does_not_name_its_log_groups_is_older(shell: Terminal) -> None:
    shell.shows(DONE)
    result = shell("logs", "run-42")
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert "has no output LogGroupNames; deploy the stack's newest version" in result.stderr


def test_the_template_names_the_log_groups_in_this_order_and_lets_operators_query_them() -> None:
    groups = [{"Ref": f"{name.title()}Logs"} for name in FUNCTIONS]
    named = {"Join": [",", groups]}
    assert template()["Outputs"]["LogGroupNames"]["Value"] == named
    assert properties("LogGroupNamesParameter")["Value"] == named
    every = {name for name, each in template()["Resources"].items() if each["Type"] == "AWS::Logs::LogGroup"}
    assert every - {"StateMachineLogs"} == {group["Ref"] for group in groups}
    may = {action: each["Resource"] for each in statements("OperatorPolicy") for action in listed(each["Action"])}
    assert may["logs:StartQuery"] == [{"GetAtt": f"{group['Ref']}.Arn"} for group in groups]
    assert {action for action in may if action.startswith("logs:")} == {
        "logs:StartQuery", "logs:GetQueryResults", "logs:StopQuery",
    }  # fmt: skip
