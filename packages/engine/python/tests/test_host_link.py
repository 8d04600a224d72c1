"""The link: malformed frames, order, routes, and the end of the process with the end of its worker."""

import os
import threading
import time

import pytest
from host_pythons import BARE
from host_worker import ADDRESS, Worker

from whipray_engine import wire
from whipray_engine.frame import (
    CANCEL, CHUNK, CHUNKED, CLOSE, FROM_CALLEE, GOODBYE, ITEM, OPEN, PING, PONG, PREFIX, REPLY, REQUEST, frame,
)

ENGINE = "whipray_samples.plain.Engine"
HEALTH = wire.pack({"m": "health"})


@pytest.mark.parametrize(
    "data, words",
    [
        (PREFIX.pack(524_289, 2, REQUEST, 0, 0, 1), "FRAME_SIZE"),
        (PREFIX.pack(2**32 - 1, 2, REQUEST, 0, 0, 1), "FRAME_SIZE"),
        (PREFIX.pack(5, 2, REQUEST, 0, 6, 1), "FRAME_SIZE"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "FRAME_SIZE"),
        (frame(REQUEST, 2, b"\xc1", b"", 0, 1), "DECODE_BYTE"),
        (frame(REQUEST, 2, b"\x91" * 70 + b"\xc0", b"", 0, 1), "DECODE_DEPTH"),
        (frame(REQUEST, 2, b"\x82\xa1m\xa1a\xa1m\xa1b", b"", 0, 1), "DECODE_KEY"),
        (frame(REQUEST, 2, b"\x81\xa9__proto__\x01", b"", 0, 1), "DECODE_KEY"),
        (frame(REQUEST, 2, b"\xc0", b"", 0, 1), "INVALID_MESSAGE"),
        (frame(REQUEST, 2, wire.pack({"m": "health", "p": [5]}), b"\x80", 0, 1), "INVALID_MESSAGE"),
        (frame(REQUEST, 2, HEALTH, b"", CHUNKED, 1), "INVALID_MESSAGE"),
        (frame(REQUEST, 2, wire.pack({"m": "health", "p": [2]}), b"", CHUNKED, 1) + frame(CHUNK, 2, b"", b"abc", 0, 1), "FRAME_SIZE"),
        (frame(OPEN, 3, wire.pack({"to": ADDRESS})), "INVALID_MESSAGE"),
        (frame(OPEN, 2, wire.pack({"to": ADDRESS})), "INVALID_MESSAGE"),
        (frame(OPEN, 4, b"\xc1"), "DECODE_BYTE"),
    ],
)
def test_b1_b3_b6_to_b10_malformed_frames_end_the_host_with_70_and_one_line(data, words):
    with Worker(BARE) as worker:
        worker.send(data)
        with pytest.raises((EOFError, ConnectionError)):
            worker.pump(lambda: False)
        assert worker.exit_code() == 70
        lines = worker.text().strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("whipray engine host: ") and words in lines[0]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91" * 70 + b"\xc0", b"\xdd\x01\xff\xff\xff", b"\x80\x00", b"\x81\x01\x02", b"\xd4\x70\x00"])
def test_malformed_arguments_fail_the_call_and_the_host_lives_on(shared, body):
    shared.sequence += 1
    shared.send(frame(REQUEST, 2, wire.pack({"m": "call"}), body, 0, shared.sequence))
    assert shared.fails(shared.sequence)["code"].startswith("DECODE_")
    shared.sequence += 1
    shared.send(frame(REQUEST, 2, HEALTH, body, 0, shared.sequence))
    assert shared.fails(shared.sequence)["code"].startswith("DECODE_")
    assert shared.call("add", 1) == 2


@pytest.fixture(scope="module")
def shared():
    with Worker(BARE) as one:
        one.create(ENGINE)
        yield one


@pytest.mark.parametrize(
    "data",
    [
        frame(99, 2), frame(REPLY, 2, b"", b"\xc0", 0, 1), frame(ITEM, 2, b"", b"\xc0", 0, 1), frame(REQUEST, 2, HEALTH, b"\x80", 0, 1), frame(CANCEL, 2, sequence=10**9),
        frame(REQUEST, 800, HEALTH, b"\x80", 0, 1), frame(42, 0), frame(CHUNK, 2, b"", b"x", FROM_CALLEE, 1), frame(CHUNK, 2, b"", b"x", 0, 10**9),
    ],
    ids=["kind 99", "reply", "item", "sequence twice", "cancel of nothing", "route of nobody", "link kind 42", "callee chunk", "chunk of nothing"],
)
def test_b14_frames_that_make_no_sense_are_counted_and_the_tenth_ends_the_link(data):
    with Worker(BARE) as worker:
        worker.ask("health")
        for _ in range(9):
            worker.send(data)
        assert worker.ask("health")["status"] == "healthy"
        worker.send(data)
        with pytest.raises((EOFError, ConnectionError)):
            worker.pump(lambda: False)
        assert worker.exit_code() == 70 and "UNKNOWN_MESSAGE" in worker.text()


def test_a_message_over_the_limits_is_refused_while_its_chunks_are_thrown_away(shared):
    shared.sequence += 1
    shared.send(frame(REQUEST, 2, wire.pack({"m": "call", "p": [(64 << 20) + 1]}), b"", CHUNKED, shared.sequence))
    assert shared.fails(shared.sequence)["code"] == "PAYLOAD_TOO_LARGE"
    large = shared.sequence
    shared.chunks(large, b"x" * 1_000_000)
    assert shared.call("add", 1) == 2, "a refused message holds back nobody"


def test_a_message_that_the_machine_has_no_memory_for_is_refused():
    with Worker(["bash", "-c", 'ulimit -v 2000000; exec "$@"', "bash"] + BARE) as worker:
        worker.sequence += 1
        worker.send(frame(REQUEST, 2, wire.pack({"m": "call", "p": [1, 4 << 30]}), b"", CHUNKED, worker.sequence))
        assert worker.fails(worker.sequence)["code"] == "OUT_OF_MEMORY"
        worker.chunks(worker.sequence, b"x" * 300_000)
        assert worker.ask("health")["status"] == "healthy"


def test_a_ping_is_answered_with_its_sequence_while_a_call_runs(worker):
    running = worker.begin("sleep", 0.3)
    worker.running("sleep")
    worker.send(frame(PING, sequence=77))
    worker.pump(lambda: any(kind == PONG for _, kind, _, _, _ in worker.frames))
    assert [sequence for _, kind, _, sequence, _ in worker.frames if kind == PONG] == [77]
    worker.wait(running)


def test_a_chunked_request_holds_back_the_later_ones_of_its_route(worker):
    first = worker.request("call", {"method": "add", "args": [1], "kwargs": {}, "x": "y" * 100_000}, upload=50_000)
    rest = worker.rest
    second = worker.begin("add", 2)
    worker.open(4)
    other = worker.request("call", {"method": "add", "args": [3]}, route=4)
    assert worker.wait(other) == 4, "another route is not held back"
    assert worker.ask("health")["status"] == "healthy", "what the I/O thread answers is not held back"
    assert second not in worker.answers and first not in worker.answers
    worker.chunks(first, rest)
    assert [worker.wait(first), worker.wait(second)] == [2, 3]
    assert worker.call("facts")["log"] == [3, 1, 2]


def test_a_cancelled_upload_lets_the_later_calls_go_whether_its_chunks_come_or_not(worker):
    for sends_rest in (False, True):
        first = worker.request("call", {"method": "add", "args": [1], "x": "y" * 100_000}, upload=50_000)
        rest = worker.rest
        second = worker.begin("add", 2)
        worker.cancel(first)
        assert worker.fails(first)["code"] == "CANCELLED"
        assert worker.wait(second) == 3
        if sends_rest:
            worker.chunks(first, rest)
        assert worker.call("add", 5) == 6


def test_the_deadline_of_an_unfinished_upload_lets_the_later_calls_go(worker):
    first = worker.request("call", {"method": "add", "args": [1], "x": "y" * 100_000}, upload=50_000, d=300)
    second = worker.begin("add", 2)
    assert worker.fails(first)["code"] == "DEADLINE_EXCEEDED"
    assert worker.wait(second) == 3, "the main thread waits for bytes; the timer that hands on this call is the I/O thread's"


def test_an_answer_does_not_wait_for_a_later_call_that_takes_long(worker):
    for _ in range(3):
        quick, slow = worker.begin("add", 1), worker.begin("sleep", 0.5)
        worker.pump(lambda: worker.answers.get(quick) and worker.answers[quick].done)
        assert slow not in worker.answers
        worker.wait(slow)


def test_an_answer_does_not_wait_for_a_call_that_was_quick_until_now(worker):
    for _ in range(3):
        worker.wait(worker.begin("sleep", 0))
    quick, slow = worker.begin("add", 1), worker.begin("sleep", 0.5)
    worker.pump(lambda: worker.answers.get(quick) and worker.answers[quick].done)
    assert slow not in worker.answers
    worker.wait(slow)


def test_neither_does_one_after_a_call_during_which_the_other_thread_had_to_read(worker):
    for _ in range(3):
        worker.wait(worker.begin("sleep", 0))
    worker.begin("spin", 0.2)
    worker.running("spin")
    quick, slow = worker.begin("add", 1), worker.begin("sleep", 0.5)
    worker.pump(lambda: worker.answers.get(quick) and worker.answers[quick].done)
    assert slow not in worker.answers
    worker.wait(slow)


def test_health_is_answered_while_quick_calls_come_without_end(worker):
    worker.call("spin", 0.0002)
    for _ in range(100):
        worker.begin("spin", 0.0002)
    health = worker.request("health")
    for _ in range(50_000):
        # A call takes longer than to send one: the host always has the next one, and this ends only with its answer.
        last = worker.begin("spin", 0.0002)
        if health in worker.answers:
            break
    assert health in worker.answers
    worker.wait(last)


def test_an_open_for_somebody_else_is_closed(worker):
    worker.open(4, to="node_test/somebody")
    number, kind, _, body = worker.controls[-1]
    assert (number, kind) == (4, CLOSE) and wire.decode_map(body)["code"] == "NO_ROUTE"
    worker.sequence += 1
    worker.send(frame(REQUEST, 4, HEALTH, b"\x80", 0, worker.sequence))
    assert worker.call("add", 1) == 2


def test_the_end_of_a_route_drops_its_waiting_calls_and_tells_the_running_one(worker):
    worker.open(4)
    worker.request("call", {"method": "until_cancelled"}, route=4)
    worker.running("until_cancelled")
    worker.request("call", {"method": "add", "args": [100]}, route=4)
    worker.send(frame(CLOSE, 4))
    assert worker.call("facts")["log"] == ["saw cancel"]


@pytest.mark.parametrize("method, args", [(None, []), ("sleep", [60]), ("spin", [60])])
def test_the_end_of_the_link_ends_the_process_even_while_a_method_runs(method, args):
    with Worker(BARE) as worker:
        worker.create(ENGINE)
        if method:
            worker.begin(method, *args)
            worker.running(method)
        began = time.monotonic()
        worker.sock.close()
        assert worker.exit_code(10) == 0
        print("ended after %.3f s" % (time.monotonic() - began))


def test_what_was_printed_is_flushed_at_the_end_of_the_link(worker):
    worker.call("say", "last words")
    worker.sock.close()
    worker.exit_code()
    assert "no newline" in worker.text()


def test_goodbye_ends_the_process(worker):
    worker.send(frame(GOODBYE))
    assert worker.exit_code() == 0


def test_a_crash_keeps_its_signal(worker):
    worker.begin("signal_self")
    assert worker.exit_code() == -11
    assert "in signal_self" in worker.text(), "the log tells where"


def test_descriptors_do_not_grow_with_calls(worker):
    def count():
        return len(os.listdir("/proc/%d/fd" % worker.process.pid))

    worker.call("give", "x" * 1_000_000)
    before = count()
    for _ in range(30):
        worker.call("give", "x" * 1_000_000)
    assert count() == before


def test_many_large_replies_at_once_all_arrive(worker):
    asked = [worker.begin("give", "%d-" % n + "x" * 100_000) for n in range(200)]
    for n, one in enumerate(asked):
        assert worker.wait(one, 60) == "%d-" % n + "x" * 100_000


def test_pipelined_calls_start_in_order(worker):
    asked = [worker.begin("add", n) for n in range(3000)]
    assert [worker.wait(one) for one in asked] == [n + 1 for n in range(3000)]
    assert worker.call("facts")["log"] == list(range(3000))


def test_the_client_of_these_tests_has_no_threads():
    assert threading.active_count() == 1
