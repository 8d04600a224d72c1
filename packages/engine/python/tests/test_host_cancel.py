"""Cancel, deadlines, and what is answered while a call runs."""

import signal
import time

import pytest
from host_pythons import BARE
from host_worker import Worker

from whipray_engine import host as host_module
from whipray_engine.limits import QUEUED_BYTES_LIMIT, QUEUED_CALLS_LIMIT

ENGINE = "whipray_samples.plain.Engine"


def test_health_info_stacks_and_ports_are_answered_while_a_call_runs():
    with Worker(BARE, {"WHIPRAY_PORT_RANGE": "20000-29999"}) as worker:
        worker.create(ENGINE)
        running = worker.begin("interruptible", 30, meta={"interrupt": True})
        worker.running("interruptible")
        waiting = worker.begin("add", 1)
        health = worker.ask("health")
        assert health["busy"] and health["method"] == "interruptible" and health["sinceMs"] >= 0 and health["queued"] == 1
        assert worker.ask("info")["pid"] == worker.process.pid
        assert len(worker.ask("alloc_ports", {"count": 2})["ports"]) == 2
        stacks = worker.ask("stacks")
        assert "in interruptible" in stacks and "whipray-io" in stacks and "MainThread" in stacks
        assert not worker.answers.get(waiting) and not worker.answers.get(running)
        worker.cancel(running)
        assert worker.fails(running)["code"] == "CANCELLED"
        assert worker.wait(waiting) == 2


@pytest.mark.parametrize("method", ["spin", "sleep"])
def test_health_is_answered_under_pure_python_load_too(worker, method):
    running = worker.begin(method, 1.0)
    worker.running(method)
    assert all(worker.ask("health")["busy"] for _ in range(3))
    assert running not in worker.answers
    worker.wait(running)


def test_a_gil_held_for_20_s_by_c_code_only_makes_health_late(worker):
    running = worker.begin("hold_gil", 20.0)
    asked = [worker.request("health") for _ in range(3)]
    assert worker.wait(running, 60) == "held"
    assert [worker.wait(one)["status"] for one in asked] == ["healthy"] * 3
    assert worker.call("add", 1) == 2


def test_a_queued_call_that_is_cancelled_never_runs(worker):
    running = worker.begin("sleep", 0.5)
    worker.running("sleep")
    queued = [worker.begin("add", n) for n in (10, 20, 30)]
    worker.cancel(queued[1])
    error = worker.fails(queued[1])
    assert error["code"] == "CANCELLED" and error["name"] == "TaskCancelledError"
    assert running not in worker.answers, "the answer came before the running call ended"
    assert [worker.wait(running), worker.wait(queued[0]), worker.wait(queued[2])] == [0.5, 11, 31]
    assert worker.call("facts")["log"] == [10, 30]


def test_a_running_sync_call_sees_a_flag(worker):
    running = worker.begin("until_cancelled")
    worker.running("until_cancelled")
    worker.cancel(running)
    error = worker.fails(running)
    assert error["code"] == "CANCELLED" and error["message"] == "stopped half-way"
    assert worker.call("facts")["log"] == ["saw cancel"]


def test_without_interrupt_a_running_sync_call_goes_on_and_its_result_counts(worker):
    running = worker.begin("interruptible", 0.4)
    worker.running("interruptible")
    worker.cancel(running)
    assert worker.wait(running) == "slept"
    assert worker.call("facts")["log"] == []


def test_with_interrupt_it_gets_a_keyboard_interrupt(worker):
    running = worker.begin("interruptible", meta={"interrupt": True})
    worker.running("interruptible")
    worker.cancel(running)
    assert worker.fails(running)["code"] == "CANCELLED"
    assert worker.call("facts")["log"] == ["interrupted"]


def test_an_interrupt_never_hits_another_call(worker):
    """Cancels of short calls race with their ends: whoever is hit must be the cancelled call."""
    short, long = [], []
    for _ in range(150):
        short.append(worker.begin("sleep", 0.001, meta={"interrupt": True}))
        long.append(worker.begin("sleep", 0.002))
        worker.idle(0.001)
        worker.cancel(short[-1])
    assert [worker.wait(one) for one in long] == [0.002] * len(long)
    for one in short:
        worker.pump(lambda one=one: one in worker.answers and worker.answers[one].done)
        answer = worker.answers[one]
        assert answer.value == 0.001 or answer.error["code"] == "CANCELLED"


def test_a_cancel_of_a_finished_or_unknown_call_changes_nothing(worker):
    done = worker.begin("add", 1)
    worker.wait(done)
    worker.cancel(done)
    assert worker.call("add", 2) == 3


def test_ctrl_c_hits_the_running_call_and_nothing_when_none_runs(worker):
    worker.process.send_signal(signal.SIGINT)
    assert worker.call("add", 1) == 2
    running = worker.begin("interruptible")
    worker.running("interruptible")
    worker.process.send_signal(signal.SIGINT)
    error = worker.fails(running)
    assert error["code"] == "ENGINE_CALL" and error["name"] == "KeyboardInterrupt"
    assert worker.call("add", 1) == 2


def test_a_deadline_answers_a_running_call_at_once_and_tells_it(worker):
    running = worker.begin("until_cancelled", head={"d": 200})
    assert worker.fails(running)["code"] == "DEADLINE_EXCEEDED"
    assert worker.call("facts")["log"] == ["saw cancel"]


def test_a_deadline_ends_a_waiting_call_which_then_never_runs(worker):
    running = worker.begin("sleep", 0.6)
    waiting = worker.begin("add", 99, head={"d": 50})
    error = worker.fails(waiting)
    assert error["code"] == "DEADLINE_EXCEEDED" and running not in worker.answers
    worker.wait(running)
    assert worker.call("facts")["log"] == []


def test_a_deadline_interrupts_where_the_call_allows_it(worker):
    running = worker.begin("interruptible", head={"d": 100}, meta={"interrupt": True})
    assert worker.fails(running)["code"] == "DEADLINE_EXCEEDED"
    assert worker.call("facts")["log"] == ["interrupted"]


@pytest.mark.parametrize("d, code", [(0, "DEADLINE_EXCEEDED"), (-5, "DEADLINE_EXCEEDED"), ("x", "RANGE"), (float("nan"), "RANGE"), (True, "RANGE")])
def test_b42_deadlines_in_the_past_and_nonsense(worker, d, code):
    assert worker.fails(worker.begin("add", 1, head={"d": d}))["code"] == code


@pytest.mark.parametrize("d", [2**31, 2**53, 1e300, float("inf"), 7_200_000])
def test_b42_very_long_deadlines_are_none(worker, d):
    assert worker.call("add", 1, head={"d": d}) == 2


def test_a_future_is_awaited_without_blocking_the_other_methods(worker):
    waiting = worker.begin("future", 0.5)
    assert worker.call("add", 1) == 2
    assert waiting not in worker.answers
    assert worker.wait(waiting) == "from the pool"
    error = worker.fails(worker.begin("future", 0, True))
    assert (error["name"], error["code"], error["message"]) == ("Custom", "ENGINE_CALL", "in the pool")


def test_a_future_that_has_not_begun_is_cancelled(worker):
    begun = [worker.begin("future", 0.6) for _ in range(4)]
    late = worker.begin("future", 0.6)
    worker.running("future")
    worker.call("add", 1)
    worker.cancel(late)
    assert worker.fails(late)["code"] == "CANCELLED"
    assert [worker.wait(one) for one in begun] == ["from the pool"] * 4


def test_b17_one_call_more_than_the_queue_takes_is_busy(worker):
    running = worker.begin("sleep", 60, meta={"interrupt": True})
    worker.running("sleep")
    sent = [worker.begin("add", 1) for _ in range(QUEUED_CALLS_LIMIT + 5)]
    busy = sent[-5:]
    for one in busy:
        error = worker.fails(one)
        assert error["code"] == "BUSY" and error["retryable"] and str(QUEUED_CALLS_LIMIT) in error["message"]
    assert worker.ask("health")["queued"] == QUEUED_CALLS_LIMIT
    worker.cancel(running)
    assert all(worker.wait(one, 120) == 2 for one in sent[:-5])
    assert worker.ask("health")["queued"] == 0


def test_b17_bytes_that_wait_are_limited_too():
    class Call:
        method, size = "call", 10

    host = host_module.Host.__new__(host_module.Host)
    host.immediate, host.stopping = {}, False
    host.runner = type("Runner", (), {"handlers": {"call": None}})
    host.calls = host_module.Calls()
    host.calls.queued, host.calls.queued_bytes = 3, QUEUED_BYTES_LIMIT + 10
    assert host.refusal(Call()) is None
    host.calls.queued_bytes += 1
    assert host.refusal(Call()).code == "BUSY"


def test_a_oneway_call_runs_and_is_not_answered(worker):
    worker.request("call", {"method": "add", "engineName": "e", "args": [5]}, oneway=True)
    worker.request("call", {"method": "fail", "engineName": "e"}, oneway=True)
    before = time.monotonic()
    assert worker.call("facts")["log"] == [5]
    assert set(worker.answers) == {1, worker.sequence} and time.monotonic() >= before
