"""Async engines: loop on the main thread, calls at the same time, cancel, streams."""

import pytest
from host_pythons import BARE, PYTHONS
from host_worker import Worker

from whipray_engine.limits import ASYNC_CALLS_LIMIT, STREAM_DEMAND

ENGINE = "whipray_samples.asynchronous.AsyncEngine"
SYNC = "whipray_samples.plain.Engine"


@pytest.fixture(params=PYTHONS.values(), ids=PYTHONS.keys())
def any_python(request):
    with Worker(request.param) as one:
        one.create(ENGINE)
        yield one


def test_async_methods_run_at_the_same_time_and_sync_ones_between_them(any_python):
    worker = any_python
    met = [worker.begin("meet") for _ in range(50)]
    worker.pump(lambda: worker.call("counts")[0] == 50)
    assert worker.call("open") is True
    assert {worker.wait(one) for one in met} == {50}
    assert worker.call("where") == [True, True]
    assert worker.call("add", 1, 2) == 3


def test_at_most_1000_async_calls_run_at_once_and_the_rest_wait_in_order(worker):
    met = [worker.begin("meet") for _ in range(ASYNC_CALLS_LIMIT + 20)]
    opened = worker.begin("open")
    worker.pump(lambda: worker.ask("health")["queued"] == 21)
    worker.cancel(met[0])
    assert worker.fails(met[0])["code"] == "CANCELLED"
    worker.pump(lambda: worker.ask("health")["queued"] == 20)
    for one in met[1:21]:
        worker.cancel(one)
    assert worker.wait(opened) is True
    assert {worker.wait(one) for one in met[21:]} == {ASYNC_CALLS_LIMIT}


def test_async_and_sync_engines_share_the_process(worker):
    worker.create(SYNC, "s")
    met = worker.begin("meet")
    assert worker.call("add", 1, engine="s") == 2
    assert worker.call("count", 3, engine="s") == [0, 1, 2]
    stream = worker.begin("count", 100, engine="s", stream=True)
    worker.demand(stream, 1000)
    assert worker.wait(stream) == "end of 100"
    worker.call("open")
    assert worker.wait(met) == 1


def test_an_async_engine_after_a_sync_one_and_queued_calls(worker):
    with Worker(BARE) as other:
        other.create(SYNC, "s")
        other.begin("sleep", 0.2, engine="s")
        made = other.request("create_engine", {"engine": ENGINE, "engineName": "a"})
        after = other.begin("add", 1, 2, engine="a")
        more = other.begin("add", 5, engine="s")
        assert [other.wait(made), other.wait(after), other.wait(more)] == [None, 3, 6]


def test_an_async_exception_keeps_its_traceback(any_python):
    error = any_python.fails(any_python.begin("fail"))
    assert (error["name"], error["code"], error["message"]) == ("ValueError", "ENGINE_CALL", "async trouble")
    assert 'raise ValueError("async trouble")' in error["stack"] and "whipray_engine/" not in error["stack"]


def test_cancel_cancels_the_task(any_python):
    running = any_python.begin("wait_for_cancel")
    any_python.running("wait_for_cancel")
    any_python.cancel(running)
    assert any_python.fails(running)["code"] == "CANCELLED"
    assert any_python.call("get_log") == ["cancelled True"]


def test_a_cancel_after_the_deadline_does_not_hit_the_clean_up_of_the_task(worker):
    """A caller in TypeScript sends both."""
    running = worker.begin("slow_to_cancel", 0.3, head={"d": 100})
    assert worker.fails(running)["code"] == "DEADLINE_EXCEEDED"
    worker.cancel(running)
    worker.cancel(running)
    worker.pump(lambda: worker.call("get_log") == ["cleaned up"])


def test_a_deadline_cancels_the_task(worker):
    running = worker.begin("wait_for_cancel", head={"d": 200})
    assert worker.fails(running)["code"] == "DEADLINE_EXCEEDED"
    worker.pump(lambda: worker.call("get_log") == ["cancelled True"])


@pytest.mark.parametrize("method", ["items", "sync_items"])
def test_generators_of_an_async_engine_stream_and_hold_only_themselves(any_python, method):
    worker = any_python
    stream = worker.begin(method, 150, stream=True)
    worker.pump(lambda: stream in worker.answers and len(worker.answers[stream].items) == STREAM_DEMAND)
    assert worker.call("add", 1, 2) == 3
    worker.demand(stream, 1000)
    assert worker.wait(stream) == ("done" if method == "sync_items" else None)
    assert worker.answers[stream].items == list(range(150))
    assert worker.call(method, 3) == [0, 1, 2]


@pytest.mark.parametrize("method", ["items", "sync_items"])
def test_a_full_buffer_holds_the_generator_but_not_the_loop_and_a_stall_fails_it(method):
    with Worker(BARE, {"WHIPRAY_STREAM_BUFFER_BYTES": "50000", "WHIPRAY_STREAM_STALL_MS": "400"}) as worker:
        worker.create(ENGINE)
        stream = worker.begin(method, 1000, 10_000, stream=True)
        for _ in range(20):
            assert worker.call("add", 1, 2) == 3
        error = worker.fails(stream)
        assert error["code"] == "STREAM_STALLED" and len(worker.answers[stream].items) == STREAM_DEMAND
        assert worker.call("get_log") == [method.replace("_", " ") + " closed"]


@pytest.mark.parametrize("method", ["items", "sync_items"])
def test_break_closes_an_async_generator(worker, method):
    stream = worker.begin(method, 100_000, 1000, stream=True)
    worker.pump(lambda: stream in worker.answers and len(worker.answers[stream].items) >= 3)
    worker.cancel(stream)
    assert worker.fails(stream)["code"] == "CANCELLED"
    worker.pump(lambda: worker.call("get_log") == [method.replace("_", " ") + " closed"])


def test_stacks_show_where_tasks_wait(worker):
    met = worker.begin("meet")
    worker.running("meet")
    assert "in meet" in worker.ask("stacks")
    worker.call("open")
    worker.wait(met)


def test_health_is_answered_while_a_sync_method_blocks_the_loop(worker):
    running = worker.begin("block", 0.5)
    worker.running("block")
    assert worker.ask("health")["busy"] and running not in worker.answers
    assert worker.wait(running) == "blocked"


def test_destroy_awaits_and_cancels_what_still_runs(worker):
    met = worker.begin("meet")
    worker.running("meet")
    assert worker.ask("destroy", {"engineName": "e"}) == {"destroyed": ["e"], "failed": []}
    error = worker.fails(met)
    assert error["code"] == "CANCELLED" and "destroyed" in error["message"]
    assert "async destroyed" in worker.text()


def test_shutdown_of_an_async_engine_exits_0(any_python):
    met = any_python.begin("meet")
    any_python.running("meet")
    assert any_python.ask("shutdown", {"graceMs": 5000})["destroyed"] == ["e"]
    assert any_python.fails(met)["code"] == "CANCELLED"
    assert any_python.exit_code() == 0 and "async destroyed" in any_python.text()
