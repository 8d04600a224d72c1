"""Limits that a real host only reaches with gigabytes: the link in this process, over a socket pair."""

import socket
import threading
import time

import pytest
from host_worker import wire

from whipray_engine import lead as lead_module
from whipray_engine import line as line_module
from whipray_engine import link as link_module
from whipray_engine import route as route_module
from whipray_engine.frame import CLOSE, ERROR, OPEN, OPENED, PING, REQUEST, Splitter, frame
from whipray_engine.host import Host
from whipray_engine.link import Link
from whipray_engine.settings import Settings


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    settings = Settings({"WHIPRAY_ENGINE_SOCKET": "unix:/x", "WHIPRAY_ENGINE_ADDRESS": "n/e", "WHIPRAY_ENGINE_TOKEN_FILE": "/x"})
    link = Link(theirs, Splitter(), settings)
    link.host = Host(link, settings)
    yield link, ours
    ours.close()
    link._forget_descriptors()


def test_a_link_has_a_limited_number_of_routes(pair, monkeypatch):
    link, worker = pair
    monkeypatch.setattr(line_module, "MAX_ROUTES_PER_LINK", 3)
    for number in (2, 4, 6, 8):
        worker.sendall(frame(OPEN, number, wire.pack({"to": "n/e"})))
    link.worker.read()
    assert not link._write()
    splitter = Splitter()
    splitter.received(worker.recv_into(splitter.room()))
    answers = [(number, kind, bytes(body)) for number, kind, _, _, _, body in splitter.frames()]
    assert [answer[:2] for answer in answers] == [(2, OPENED), (4, OPENED), (6, OPENED), (8, CLOSE)]
    assert wire.decode_map(answers[3][2])["code"] == "LIMIT"


def test_a_deadline_that_is_far_away_gets_its_timer_when_it_is_near_and_rings_in_time(pair, monkeypatch):
    link, worker = pair
    monkeypatch.setattr(route_module, "FAR_DEADLINE_MS", 60)
    worker.sendall(frame(OPEN, 2, wire.pack({"to": "n/e"})))
    began = time.monotonic()
    for sequence, left_ms in ((1, 150), (2, 10_000_000_000)):
        worker.sendall(frame(REQUEST, 2, wire.pack({"m": "call", "d": left_ms}), b"\x80", 0, sequence))
    link.worker.read()
    calls = link.worker.routes[2].calls
    assert [call.timer for call in calls.values()] == [None, None] and len(link.timers.heap) == 1
    while 1 in calls:
        link.timers.run()
        time.sleep(0.002)
        assert time.monotonic() - began < 20
    assert time.monotonic() - began >= 0.15
    assert 2 in calls and link.worker.routes[2].watches
    link._write()
    splitter = Splitter()
    splitter.received(worker.recv_into(splitter.room()))
    error = [wire.decode_map(bytes(body)) for _, kind, _, _, _, body in splitter.frames() if kind == ERROR][0]
    assert error["code"] == "DEADLINE_EXCEEDED" and "150 ms" in error["message"]


def test_the_main_thread_stays_awake_only_while_bytes_come_close_to_each_other(pair, monkeypatch):
    link, worker = pair
    waited = []
    poller = link.poller
    monkeypatch.setattr(lead_module, "_PROCESSORS", 2)
    monkeypatch.setattr(lead_module, "CLOSE_SECONDS", 60)
    wait = poller.wait
    monkeypatch.setattr(poller, "wait", lambda wait_ms: (waited.append(wait_ms), wait(wait_ms))[1])
    poller.prepare(True, False)
    worker.sendall(frame(PING))
    assert poller.wait_awake(1_000) == [link.worker] and waited == [1_000]
    assert poller.wait_awake(1_000) == [link.worker] and waited == [1_000, 0], "it looks before it sleeps"
    link.worker.read()
    monkeypatch.setattr(lead_module, "CLOSE_SECONDS", 0)
    assert poller.wait_awake(5) == [] and waited[-1] == 5
    count = len(waited)
    assert poller.wait_awake(5) == [] and len(waited) == count + 1, "it sleeps at once"


def test_the_main_thread_starts_no_call_while_too_many_bytes_of_replies_wait(pair):
    link, _ = pair
    link.outbound(link_module.OUTBOUND_BYTES_LIMIT)
    link.wait_for_room()
    link.outbound(1)
    went_on = threading.Event()
    waiting = threading.Thread(target=lambda: (link.wait_for_room(), went_on.set()))
    waiting.start()
    assert not went_on.wait(0.05)
    link.outbound(-1)
    assert went_on.wait(10)
    waiting.join()


def test_the_socket_may_be_given_as_an_url(pair):
    assert pair[0].settings.socket_path == "/x"
