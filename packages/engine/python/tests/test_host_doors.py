"""Doors: a caller of this machine comes straight to the host; its calls keep their order, and its end ends nothing but them."""

import os
import signal
import socket
import time

import pytest
from host_worker import TOKEN, Caller, Remote

from whipray_engine import door, wire
from whipray_engine.frame import CLOSE, GOODBYE, HELLO, OPEN, OPENED, REFUSE, REPLY, REQUEST, Splitter, frame
from whipray_engine.host import Host
from whipray_engine.limits import CALLER_LINES_LIMIT
from whipray_engine.link import Link
from whipray_engine.settings import Settings

ENGINE = "whipray_samples.plain.Engine"


def test_a_caller_calls_the_engine_while_the_worker_does_and_both_keep_their_order(worker):
    with Caller(worker) as caller:
        assert not os.path.exists(caller.path), "a door lets in one caller, and is gone"
        mine = [caller.begin("add", number) for number in range(0, 100)]
        theirs = [worker.begin("add", number) for number in range(1_000, 1_100)]
        assert [caller.wait(one) for one in mine] == list(range(1, 101))
        assert [worker.wait(one) for one in theirs] == list(range(1_001, 1_101))
        log = worker.call("facts")["log"]
        assert [number for number in log if number < 1_000] == list(range(0, 100))
        assert [number for number in log if number >= 1_000] == list(range(1_000, 1_100))


def test_the_worker_and_other_callers_are_answered_while_a_call_runs(worker):
    with Caller(worker) as caller, Caller(worker) as other:
        running = caller.begin("sleep", 0.5)
        caller.running("sleep")
        assert worker.ask("health")["method"] == other.ask("health")["method"] == "sleep"
        late = other.begin("add", 1)
        other.cancel(late)
        assert other.fails(late)["code"] == "CANCELLED"
        assert caller.wait(running) == 0.5


def test_a_fence_is_answered_when_what_came_before_it_is_in_the_queue_not_when_it_ran(worker):
    with Caller(worker) as caller:
        running = caller.begin("sleep", 0.5)
        caller.running("sleep")
        behind = caller.begin("add", 1)
        assert caller.ask("fence") is None
        assert behind not in caller.answers and running not in caller.answers
        # What the worker sends now comes after it.
        assert worker.call("add", 2) == 3
        assert caller.wait(behind) == 2
        assert worker.call("facts")["log"] == [1, 2]


def test_a_fence_waits_for_the_chunks_of_a_call_before_it(worker):
    with Caller(worker) as caller:
        caller.request("call", {"method": "add", "args": [1], "kwargs": {}, "x": "y" * 100_000}, upload=50_000)
        rest, upload = caller.rest, caller.sequence
        fence = caller.request("fence")
        worker.ask("health")
        caller.ask("health")
        assert fence not in caller.answers
        caller.chunks(upload, rest)
        assert caller.wait(fence) is None and caller.wait(upload) == 2


def test_a_deadline_ends_a_call_by_a_door(worker):
    with Caller(worker) as caller:
        late = caller.begin("sleep", 0.5, head={"d": 50})
        assert caller.fails(late)["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("goodbye", [False, True])
def test_the_end_of_a_caller_cancels_its_calls_and_nothing_else(worker, goodbye):
    with Caller(worker) as stays:
        with Caller(worker) as caller:
            caller.begin("until_cancelled")
            caller.running("until_cancelled")
            never = stays.begin("add", 1)
            caller.begin("add", 100)
            caller.ask("fence")
            if goodbye:
                caller.send(frame(GOODBYE))
                with pytest.raises((EOFError, ConnectionError)):
                    caller.pump(lambda: False)
        assert stays.wait(never) == 2
        assert worker.call("facts")["log"][-1] == 1, "what waited for the caller never ran"
    assert worker.ask("health")["status"] == "healthy"


def test_a_stream_goes_through_a_door_within_its_demand(worker):
    with Caller(worker) as caller:
        stream = caller.begin("count", 10, stream=True)
        caller.demand(stream, 10)
        caller.wait(stream)
        assert caller.answers[stream].items == list(range(10))


def test_a_large_result_waits_for_the_worker_and_goes_with_its_caller(worker):
    with Caller(worker) as caller:
        asked = {"method": "give", "engineName": "e", "args": ["x" * 200_000]}
        replies = []
        caller.answer = lambda kind, _flags, sequence, _header, body: replies.append((kind, bytes(body[:1])))
        for _ in range(2):
            caller.request("call_stored", asked)
        caller.pump(lambda: len(replies) == 2)
        assert replies == [(REPLY, b"\xc7")] * 2, "what lies in the store (PROTOCOL.md, Values)"
        tokens = ["result-1", "result-2"]
        assert worker.ask("send_result", {"token": tokens[0]}) == "x" * 200_000
    wait_for(lambda: sockets(worker) == 1)
    with pytest.raises(Remote, match="NOT_FOUND"):
        worker.ask("send_result", {"token": tokens[1]})


def sockets(worker):
    """Sockets that the host has open; that of its worker is one."""
    folder = "/proc/%d/fd" % worker.process.pid
    return sum(os.readlink(os.path.join(folder, name)).startswith("socket:") for name in os.listdir(folder))


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_wrong_token_is_refused_and_the_host_lives(worker):
    with Caller(worker, token="no" * 20, opens=False) as caller:
        _, kind, _, _, _, body = caller.next_frame()
        assert kind == REFUSE and wire.decode_map(body)["code"] == "UNAUTHENTICATED"
        with pytest.raises((EOFError, ConnectionError)):
            caller.pump(lambda: False)
    assert worker.call("add", 1) == 2


@pytest.mark.parametrize(
    "data",
    [
        frame(OPEN, 1, wire.pack({"to": "node_test/engine_test"})), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", frame(HELLO, header=b"\xc1"), frame(HELLO, header=wire.pack({"magic": "whipray"})),
        frame(HELLO, header=wire.pack({"magic": "whipray", "v": [2, 3], "token": TOKEN * 2})),
    ],
    ids=["open", "http", "no msgpack", "no version", "other version"],
)
def test_who_does_not_say_hello_is_shown_the_door(worker, data):
    path = os.path.join(worker.folder, "door.sock")
    worker.ask("open_door", {"path": path, "token": TOKEN * 2})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(20)
        sock.connect(path)
        sock.sendall(data)
        while sock.recv(65_536):
            pass
    assert worker.call("add", 1) == 2
    assert "a caller's connection was closed" in worker.text()


@pytest.mark.parametrize(
    "data",
    [frame(REQUEST, 1, b"\xc1", b"", 0, 99), frame(OPEN, 2, wire.pack({"to": "node_test/engine_test"})), b"\xff" * 20],
    ids=["header", "even route", "length"],
)
def test_malformed_frames_end_the_line_that_brought_them(worker, data):
    with Caller(worker) as caller, Caller(worker) as other:
        caller.send(data)
        with pytest.raises((EOFError, ConnectionError)):
            caller.pump(lambda: False)
        assert other.call("add", 1) == 2 and worker.call("add", 2) == 3


def test_a_route_to_somebody_else_is_closed(worker):
    with Caller(worker) as caller:
        caller.open(3, to="node_test/somebody")
        number, kind, _, _ = caller.controls[-1]
        assert (number, kind) == (3, CLOSE)
        assert all(kind != OPENED for _, kind, _, _ in caller.controls[1:])
        assert caller.call("add", 1) == 2


@pytest.mark.parametrize(
    "args, code",
    [
        ({"path": "door.sock", "token": TOKEN * 2}, "INVALID_ARGUMENT"), ({"path": "/" + "x" * 107, "token": TOKEN * 2}, "INVALID_ARGUMENT"),
        ({"path": "/tmp/x.sock", "token": "short"}, "INVALID_ARGUMENT"), ({"path": "/no/such/folder/x", "token": TOKEN * 2}, "INVALID_PATH"),
    ],
)
def test_a_door_that_cannot_be_opened_says_why(worker, args, code):
    with pytest.raises(Remote) as raised:
        worker.ask("open_door", args)
    assert raised.value.code == code
    assert worker.call("add", 1) == 2


def test_callers_at_the_same_time_are_limited(worker):
    for number in range(CALLER_LINES_LIMIT):
        worker.ask("open_door", {"path": os.path.join(worker.folder, "d%d" % number), "token": TOKEN * 2})
    with pytest.raises(Remote, match="LIMIT"):
        worker.ask("open_door", {"path": os.path.join(worker.folder, "one-more"), "token": TOKEN * 2})
    assert worker.call("add", 1) == 2


def test_the_end_of_the_worker_ends_the_host_whatever_callers_do(worker):
    with Caller(worker) as caller:
        caller.begin("sleep", 30)
        caller.running("sleep")
        worker.sock.close()
        with pytest.raises((EOFError, ConnectionError)):
            caller.pump(lambda: False)
        assert worker.exit_code() == 0
        worker.sock = None


def test_a_killed_host_ends_the_lines_of_its_callers(worker):
    with Caller(worker) as caller:
        worker.process.send_signal(signal.SIGKILL)
        with pytest.raises((EOFError, ConnectionError)):
            caller.pump(lambda: False)


def test_a_process_that_a_method_forks_keeps_no_callers_line_open(worker):
    with Caller(worker) as caller:
        child = caller.call("fork_child")
        try:
            worker.process.send_signal(signal.SIGKILL)
            with pytest.raises((EOFError, ConnectionError)):
                caller.pump(lambda: False)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_door_that_nobody_uses_closes_and_so_does_the_line_of_who_says_nothing(monkeypatch, tmp_path):
    ours, theirs = socket.socketpair()
    settings = Settings({"WHIPRAY_ENGINE_SOCKET": "/x", "WHIPRAY_ENGINE_ADDRESS": "n/e", "WHIPRAY_ENGINE_TOKEN_FILE": "/x"})
    link = Link(theirs, Splitter(), settings)
    link.host = Host(link, settings)
    monkeypatch.setattr(door, "DOOR_MS", 0)
    path = str(tmp_path / "door.sock")
    door.open_door(link, path, TOKEN * 2)
    assert os.path.exists(path)
    link.timers.run()
    assert not os.path.exists(path) and link.sources == [link.worker]
    monkeypatch.setattr(door, "DOOR_MS", 60_000)
    monkeypatch.setattr(door, "HANDSHAKE_TIMEOUT_MS", 0)
    door.open_door(link, path, TOKEN * 2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(path)
        link.sources[1].read()
        assert len(link.lines) == 2
        link.timers.run()
        assert link.lines == link.sources == [link.worker]
        assert silent.recv(1) == b""
    ours.close()
    link._forget_descriptors()


def test_a_caller_that_does_not_read_holds_up_nobody(worker):
    with Caller(worker) as stalled, Caller(worker) as other:
        for _ in range(40):
            stalled.request("call", {"method": "give", "engineName": "e", "args": ["x" * 60_000]})
        # Its socket is full now, and so is that of the next one, until it reads.
        wait_for(lambda: worker.ask("health")["queued"] == 0)
        answers = [other.begin("give", "y" * 60_000) for _ in range(40)]
        assert all(other.wait(one) == "y" * 60_000 for one in answers)
        assert other.call("add", 1) == 2
