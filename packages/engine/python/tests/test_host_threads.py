"""A class without `async def` whose calls run at the same time, on threads (`maxConcurrency`); and the same number for an async one."""

import pytest
from host_pythons import BARE, PYTHONS
from host_worker import Remote, Worker

from whipray_engine.limits import THREADS_LIMIT

ENGINE = "whipray_samples.threaded.Threaded"
ASYNC = "whipray_samples.asynchronous.AsyncEngine"


@pytest.fixture(params=PYTHONS.values(), ids=PYTHONS.keys())
def worker(request):
    with Worker(request.param) as one:
        one.create(ENGINE, maxConcurrency=3)
        yield one


def test_so_many_calls_run_at_the_same_time_and_no_more(worker):
    assert worker.call("where") is False
    met = [worker.begin("meet", 3) for _ in range(30)]
    assert {worker.wait(one) for one in met} == {3}


def test_what_waits_for_a_thread_never_runs_when_it_is_cancelled(worker):
    running = [worker.begin("until_cancelled") for _ in range(3)]
    first, second, third = [worker.begin("meet", 1) for _ in range(3)]
    worker.pump(lambda: worker.ask("health")["queued"] == 2)
    worker.cancel(third)
    assert worker.fails(third)["code"] == "CANCELLED"
    worker.cancel(first)
    for one in running:
        worker.cancel(one)
    assert [worker.fails(one)["code"] for one in (*running, first)] == ["ENGINE_CALL"] * 3 + ["CANCELLED"]
    assert worker.wait(second) == 1


def test_results_streams_errors_and_cancel(worker):
    stream = worker.begin("count", 100, stream=True)
    worker.demand(stream, 1_000)
    assert worker.wait(stream) == "end of 100"
    assert worker.answers[stream].items == list(range(100))
    assert worker.call("count", 3) == [0, 1, 2]
    error = worker.fails(worker.begin("fail"))
    assert (error["code"], error["details"]["type"]) == ("ENGINE_CALL", "builtins.KeyError")
    running = worker.begin("until_cancelled")
    worker.running("until_cancelled")
    worker.cancel(running)
    assert worker.fails(running)["code"] == "ENGINE_CALL"
    assert worker.call("where") is False


def test_destroy_waits_for_what_runs():
    with Worker(BARE) as worker:
        worker.create(ENGINE, maxConcurrency=3)
        met = [worker.begin("meet", 2) for _ in range(2)]
        assert worker.ask("destroy") == {"destroyed": ["e"], "failed": []}
        assert [worker.wait(one) for one in met] == [2, 2]
        assert "closed with 0" in worker.text()


def test_sys_exit_in_a_thread_ends_the_process_with_its_code():
    with Worker(BARE) as worker:
        worker.create(ENGINE, maxConcurrency=2)
        worker.begin("meet", 2)
        worker.begin("leave", 3)
        assert worker.exit_code() == 3


def test_one_is_the_main_thread_and_more_than_the_limit_or_nonsense_is_refused():
    with Worker(BARE) as worker:
        worker.create(ENGINE, "one", maxConcurrency=1)
        assert worker.call("where", engine="one") is True
        for wrong in (0, -1, 1.5, "2", True, THREADS_LIMIT + 1):
            with pytest.raises(Remote) as refused:
                worker.create(ENGINE, "wrong", maxConcurrency=wrong)
            assert refused.value.code == "INVALID_ARGUMENT"
            assert "maxConcurrency" in refused.value.wire["message"]


def test_an_async_class_runs_no_more_than_that_at_once():
    with Worker(BARE) as worker:
        worker.create(ASYNC, maxConcurrency=2)
        met = [worker.begin("meet") for _ in range(5)]
        worker.pump(lambda: worker.ask("health")["queued"] == 3)
        for one in met[:2]:
            worker.cancel(one)
        worker.pump(lambda: worker.ask("health")["queued"] == 1)
        for one in met[2:4]:
            worker.cancel(one)
        worker.pump(lambda: worker.ask("health")["queued"] == 0)
        assert worker.call("open") is True
        assert isinstance(worker.wait(met[4]), int)
