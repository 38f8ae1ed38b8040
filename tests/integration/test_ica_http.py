"""Calls to ICA: what is repeated and paced, what a failure means, pages, the token."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

import icav2_copy_batch
from icav2_copy_batch.adapters.ica.client import IcaClient
from icav2_copy_batch.adapters.ica.http import MAX_PACED_TRIES, MAX_TRIES, MAX_WAIT_SECONDS
from icav2_copy_batch.adapters.ica.libica_light import ApiClient
from icav2_copy_batch.adapters.ica.pacing import Pacing
from icav2_copy_batch.domain.ica import (
    SECONDS_TO_START,
    IcaAnswerLost,
    IcaError,
    IcaRefused,
    IcaUnavailable,
)
from icav2_copy_batch.domain.submit import CopyOptions
from local.simulator.model import DataStatus
from tests import doubles
from tests.doubles.simulated_ica import DATA, TOKEN, SimulatedIca, Tokens
from tests.integration.ica_cases import Canned, Prepared, files_in

# --- trouble ----------------------------------------------------------------------------------------------------------


TROUBLE: dict[str, dict[str, Any]] = {
    "a 302": {"kind": "status", "status": 302},
    "a 408": {"kind": "status", "status": 408},
    "a 409": {"kind": "status", "status": 409},
    "a 425": {"kind": "status", "status": 425},
    "a 429": {"kind": "status", "status": 429},
    "a 500": {"kind": "status", "status": 500},
    "a 503": {"kind": "status", "status": 503},
    "a page of HTML": {"kind": "html", "status": 502},
    "a page of HTML that says 200": {"kind": "html", "status": 200},
    "a page of HTML that says 400": {"kind": "html", "status": 400},
    "a page of HTML that says 403": {"kind": "html", "status": 403},
    "a page of HTML that says 404": {"kind": "html", "status": 404},
    "a dropped connection": {"kind": "drop_before"},
    "a lost answer": {"kind": "drop_after"},
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_call_is_repeated_until_the_trouble_is_over(ica: SimulatedIca, trouble: str) -> None:
    ica.file("/run/a.txt")
    ica.fault(**TROUBLE[trouble], count=MAX_TRIES - 1)
    assert ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == MAX_TRIES


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_call_is_given_up_when_the_trouble_does_not_end(ica: SimulatedIca, trouble: str) -> None:
    ica.fault(**TROUBLE[trouble])
    with pytest.raises(IcaUnavailable):
        ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == MAX_TRIES
    assert len(ica.slept) == MAX_TRIES - 1


def test_an_impatient_client_makes_a_call_twice_and_shares_what_is_remembered(ica: SimulatedIca) -> None:
    client = ica.client()
    impatient = client.impatient()
    ica.fault("status", status=503, count=2)
    with pytest.raises(IcaUnavailable):
        impatient.find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == 2
    ica.file("/run/a.txt")
    found = impatient.find_sources(ica.source, ["/run/a.txt"])
    calls = ica.calls("GET", DATA)
    assert client.find_sources(ica.source, ["/run/a.txt"]) == found != {}
    assert ica.calls("GET", DATA) == calls


@pytest.mark.parametrize("trouble", TROUBLE)
def test_nothing_is_repeated_when_no_time_is_left(ica: SimulatedIca, trouble: str) -> None:
    ica.fault(**TROUBLE[trouble])
    with pytest.raises(IcaUnavailable):
        ica.client(seconds=29).find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == 1
    assert ica.slept == []


@pytest.mark.parametrize("status", [400, 403, 404, 410, 422])
def test_a_call_that_ica_refuses_is_not_repeated(ica: SimulatedIca, status: int) -> None:
    ica.fault("status", status=status)
    with pytest.raises(IcaRefused, match=str(status)):
        ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == 1


@pytest.mark.parametrize(("status", "is_throttling"), [(409, False), (429, True), (503, False)])
def test_trouble_that_does_not_end_says_whether_ica_wants_fewer_calls_and_for_how_long(
    ica: SimulatedIca, status: int, is_throttling: bool
) -> None:
    ica.fault("status", status=status, retry_after=90)
    with pytest.raises(IcaUnavailable) as raised:
        ica.client().find(ica.source, ["/run/a.txt"])
    assert (raised.value.is_throttling, raised.value.http_status, raised.value.retry_after) == (
        is_throttling,
        status,
        90,
    )


@pytest.mark.parametrize(("asked", "waited"), [(7, 7.0), (3600, MAX_WAIT_SECONDS)])
def test_ica_is_given_the_time_it_asks_for_within_reason(ica: SimulatedIca, asked: int, waited: float) -> None:
    ica.fault("status", status=429, retry_after=asked, count=1)
    ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.slept == [waited]


def test_pauses_are_drawn_at_random_below_a_growing_limit(ica: SimulatedIca) -> None:
    ica.fault("status", status=503)
    for _ in range(20):
        with pytest.raises(IcaUnavailable):
            ica.client().find(ica.source, ["/run/a.txt"])
    by_try = [ica.slept[start :: MAX_TRIES - 1] for start in range(MAX_TRIES - 1)]
    for number, pauses in enumerate(by_try):
        assert 0 <= min(pauses) < max(pauses) <= min(0.5 * 2**number, MAX_WAIT_SECONDS)
    assert max(by_try[-1]) > 0.5


def test_icas_own_limit_of_calls_is_kept_to(ica: SimulatedIca) -> None:
    ica.set(rate_limit=1, retry_after=1)
    client = ica.client()
    for _ in range(3):
        files_in(client, ica.source, "/")
    assert ica.sim.answers["429"] == 2
    assert all(pause >= 1 for pause in ica.slept)


def pacing_of(ica: SimulatedIca, table: doubles.Table, seconds: float = 900) -> Pacing:
    """That of a container of its own, which shares the pace with others by the table."""
    ends_at = ica.clock.now + timedelta(seconds=seconds)
    return Pacing(
        table=table,
        clock=ica.clock,
        sleep=ica.sleep,
        seconds_left=lambda: (ends_at - ica.clock.now).total_seconds(),
        jitter=max,
    )


def paced(ica: SimulatedIca, table: doubles.Table) -> IcaClient:
    """A client in a container of its own."""
    return ica.client(pacing=pacing_of(ica, table))


def test_calls_are_spread_evenly_over_the_time_where_ica_limits_them(ica: SimulatedIca) -> None:
    """Of two containers in turn; of the first calls more are refused than of later ones."""
    ica.set(rate_limit=6)
    clients = [paced(ica, table) for table in [doubles.Table()] * 2]
    began = ica.clock.now
    for number in range(120):
        files_in(clients[number % 2], ica.source, "/")
    assert ica.sim.answers["200"] == 120
    assert ica.sim.answers["429"] <= 12
    assert (ica.clock.now - began).total_seconds() <= 1.3 * 120 / 6


def test_a_call_that_waits_for_its_turn_is_tried_more_often_than_one_that_meets_trouble(ica: SimulatedIca) -> None:
    ica.fault("status", status=429, count=MAX_PACED_TRIES - 1)
    files_in(paced(ica, doubles.Table()), ica.source, "/")
    assert ica.sim.answers["429"] == MAX_PACED_TRIES - 1


def test_a_429_that_does_not_end_is_given_up(ica: SimulatedIca) -> None:
    ica.fault("status", status=429)
    with pytest.raises(IcaUnavailable) as raised:
        files_in(paced(ica, doubles.Table()), ica.source, "/")
    assert raised.value.is_throttling
    assert ica.sim.answers["429"] == MAX_PACED_TRIES


def test_no_copy_batch_is_started_when_its_turn_comes_too_late_for_its_claim(ica: SimulatedIca) -> None:
    table = doubles.Table()
    doubles.nobody_calls_until(table, ica.clock.now, ica.clock.now + timedelta(seconds=10))
    seconds = SECONDS_TO_START + 5
    pacing = pacing_of(ica, table, seconds)
    pacing.held_until()
    with pytest.raises(IcaUnavailable):
        ica.client(seconds, pacing=pacing).start_copy_batch(ica.destination, None, ["id"], CopyOptions())
    assert ica.sim.calls.total() == 0


CALLS: dict[str, Callable[[IcaClient, SimulatedIca], object]] = {
    "project_id": lambda client, ica: client.project_id("source"),
    "find": lambda client, ica: client.find(ica.source, ["/run/a.txt"]),
    "file_pages": lambda client, ica: files_in(client, ica.source, "/run/"),
    "ensure_folders": lambda client, ica: client.ensure_folders(ica.destination, ["/run/"]),
    "delete_data": lambda client, ica: client.delete_data(ica.destination, ["fil.0"]),
    "start_copy_batch": lambda client, ica: client.start_copy_batch(ica.destination, None, ["id"], CopyOptions()),
    "jobs": lambda client, ica: client.jobs([str(uuid4())]),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_ica_that_cannot_be_reached_has_done_nothing(ica: SimulatedIca, call: str) -> None:
    """So that even a copy batch may be started again."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    client = ica.client(base_url=f"http://127.0.0.1:{port}/ica/rest")
    with pytest.raises(IcaUnavailable):
        CALLS[call](client, ica)
    assert len(ica.slept) == MAX_TRIES - 1


def test_an_empty_404_does_not_say_that_something_is_gone(ica: SimulatedIca) -> None:
    with pytest.raises(IcaUnavailable, match="404"):
        ica.client(wire=Canned(lambda: (404, b""))).read(ica.source, "fil.1")


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("body", [b'{"message": "Forbidden"}', b"[]", b'"no"', b'{"title": ""}', b"\xff"])
def test_json_that_is_no_problem_document_is_no_refusal_of_icas(ica: SimulatedIca, body: bytes, status: int) -> None:
    """Gateways on the way answer so."""
    with pytest.raises(IcaUnavailable, match=f"{status} \\(not a Problem document\\)"):
        ica.client(wire=Canned(lambda: (status, body))).find(ica.source, ["/a"])


# --- answers that do not arrive ---------------------------------------------------------------------------------------


def test_trouble_with_tls_which_can_come_at_any_time_is_taken_for_a_lost_answer(prepared: Prepared) -> None:
    with pytest.raises(IcaAnswerLost):
        prepared.start(base_url=prepared.ica.stage.base.replace("http://", "https://"))
    assert prepared.ica.slept == []


def test_a_copy_batch_whose_answer_does_not_come_in_time_is_not_started_again(prepared: Prepared) -> None:
    prepared.ica.fault("delay", "POST", "dataCopyBatch", delay=0.5)
    with pytest.raises(IcaAnswerLost):
        prepared.start(read_seconds=0.05)
    assert prepared.posts == 1


@contextmanager
def trickling() -> Iterator[str]:
    """The base URL of a server that answers with 200, and then with one byte after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stopped = Event()

        def serve() -> None:
            while not stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                    while not stopped.wait(0.01):
                        connection.sendall(b" ")

        with ThreadPoolExecutor(1) as pool:
            pool.submit(serve)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/ica/rest"
            finally:
                stopped.set()


def test_an_answer_that_comes_a_byte_at_a_time_is_not_waited_for_for_ever(prepared: Prepared) -> None:
    with trickling() as base_url, pytest.raises(IcaAnswerLost, match="too slowly"):
        prepared.start(base_url=base_url, monotonic=time.monotonic, connect_seconds=0.1, read_seconds=0.1)


def test_a_large_answer_is_read_to_its_end(ica: SimulatedIca) -> None:
    """Compressed, in many parts."""
    for number in range(999):
        ica.file(f"/run/{uuid4()}-{number}")
    assert len(files_in(ica.client(), ica.source, "/run/")) == 999


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["empty", "null"])
def test_the_last_page_is_known_in_both_of_its_spellings(ica: SimulatedIca, end: str) -> None:
    ica.set(end_of_pages=end)
    ica.file("/run/a.txt")
    assert ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == 1


class Pages:
    """A wire on which ICA answers with one page after the other; the last of them for ever."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.asked = 0
        self.wire = Canned(self.answer)
        self._pages = pages

    def answer(self) -> tuple[int, bytes]:
        self.asked += 1
        return 200, json.dumps(self._pages[min(self.asked, len(self._pages)) - 1]).encode()


def test_an_empty_page_is_not_the_last(ica: SimulatedIca) -> None:
    row = {"data": {"id": "fil.1", "details": {"path": "/run/a", "status": "AVAILABLE"}}}
    pages = Pages(
        {"items": [], "nextPageToken": "1"},
        {"items": [], "nextPageToken": "2"},
        {"items": [row], "nextPageToken": "3"},
        {"items": []},
    )
    assert [data.path for data in files_in(ica.client(wire=pages.wire), ica.source, "/run/")] == ["/run/a"]


def test_pages_that_lead_back_to_each_other_are_not_read_for_ever(ica: SimulatedIca) -> None:
    pages = Pages({"items": [], "nextPageToken": "1"}, {"items": [], "nextPageToken": "1"})
    with pytest.raises(IcaUnavailable, match="repeats a page"):
        files_in(ica.client(wire=pages.wire), ica.source, "/run/")
    assert pages.asked == 2


def test_a_list_that_has_no_end_ends_with_the_time(ica: SimulatedIca) -> None:
    tokens = iter(range(1_000_000))

    def answer() -> tuple[int, bytes]:
        ica.clock.forward(1)
        return 200, json.dumps({"items": [], "nextPageToken": str(next(tokens))}).encode()

    with pytest.raises(IcaUnavailable, match="too little time"):
        files_in(ica.client(seconds=100, wire=Canned(answer)), ica.source, "/run/")
    assert next(tokens) <= 100


# --- libica -----------------------------------------------------------------------------------------------------------


def test_only_the_part_of_libica_that_is_needed_is_imported() -> None:
    """In an interpreter of its own, as a cold start is; all of libica takes seconds."""
    module = "icav2_copy_batch.adapters.ica.client"
    count = f"import {module}, sys; print(sum(name.startswith('libica.') for name in sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", count],
        env={**os.environ, "PYTHONPATH": str(Path(icav2_copy_batch.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 0 < int(printed) < 150, "there are more than 800"


def test_the_version_of_the_api_is_asked_for_by_us_whatever_libica_would_say(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApiClient, "select_header_accept", lambda *_: "application/json")
    prepared.start()
    client = prepared.ica.client()
    client.ensure_folders(prepared.ica.destination, ["/new/"])
    old = prepared.ica.file("/old", prepared.ica.destination, status=DataStatus.PARTIAL)
    client.delete_data(prepared.ica.destination, [old.id])
    assert client.project_id("source") == prepared.ica.source
    assert prepared.ica.sim.answers.keys() == {"200", "201", "204"}


# --- the token --------------------------------------------------------------------------------------------------------


def test_a_token_that_was_rotated_is_fetched_afresh_once(prepared: Prepared) -> None:
    tokens = Tokens(cached="an-old-token")
    prepared.start(tokens=tokens)
    assert (tokens.fetched, prepared.posts) == (1, 2)
    assert len(prepared.ica.world.jobs) == 1
    prepared.start(tokens=tokens)
    assert (tokens.fetched, prepared.posts) == (1, 3)


@pytest.mark.parametrize("call", CALLS)
def test_a_token_that_ica_does_not_take_may_be_taken_later(ica: SimulatedIca, call: str) -> None:
    tokens = Tokens(cached="an-old-token", fresh="another-old-token")
    with pytest.raises(IcaUnavailable, match="401 ICA_SEC_002"):
        CALLS[call](ica.client(tokens=tokens), ica)
    assert tokens.fetched == MAX_TRIES


@dataclass
class NoTokens(Tokens):
    """A source that cannot be read."""

    def token(self, *, fresh: bool = False) -> str:
        raise PermissionError("made by the test")


@pytest.mark.parametrize("call", CALLS)
def test_a_token_that_cannot_be_read_may_be_read_later(ica: SimulatedIca, call: str) -> None:
    with pytest.raises(IcaUnavailable, match="the token for ICA cannot be read: made by the test"):
        CALLS[call](ica.client(tokens=NoTokens()), ica)
    assert ica.sim.calls.total() == 0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("trouble", ["none", "401", "unreachable", *TROUBLE])
def test_nobody_reads_the_token(
    ica: SimulatedIca, call: str, trouble: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    other: dict[str, Any] = {}
    if trouble == "401":
        ica.sim.replace_token("another")
    elif trouble == "unreachable":
        other["base_url"] = "http://127.0.0.1:1/ica/rest"
    elif trouble != "none":
        ica.fault(**TROUBLE[trouble])
    told = []
    try:
        CALLS[call](ica.client(**other), ica)
    except IcaError as error:
        told = [repr(error), *traceback.format_exception(error)]
    printed = capsys.readouterr()
    everything = "".join([*told, caplog.text, *(str(vars(each)) for each in caplog.records), printed.out, printed.err])
    assert caplog.records, "urllib3 logs its requests at this level"
    assert TOKEN not in everything
