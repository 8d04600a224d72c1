"""Streams: items, demand, credit, stalls, cancel."""

import pytest
from host_pythons import BARE, PYTHONS
from host_worker import Worker

from whipray_engine.limits import ROUTE_WINDOW_BYTES, STREAM_DEMAND

ENGINE = "whipray_samples.plain.Engine"


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS.keys())
def test_a_generator_streams_its_items_and_ends_with_its_return_value(python):
    with Worker(python) as worker:
        worker.create(ENGINE)
        stream = worker.begin("count", 10, stream=True)
        assert worker.wait(stream) == "end of 10"
        assert worker.answers[stream].items == list(range(10)) and worker.answers[stream].count == 10
        stream = worker.begin("count", 20, 100_000, stream=True)
        assert worker.wait(stream) == "end of 20"
        assert worker.answers[stream].items == ["x" * 100_000] * 20


def test_without_stream_the_items_come_as_a_list(worker):
    assert worker.call("count", 5) == [0, 1, 2, 3, 4]


def test_a_method_that_is_no_generator_answers_a_stream_with_a_plain_reply(worker):
    stream = worker.begin("add", 1, stream=True)
    assert worker.wait(stream) == 2 and worker.answers[stream].items == [] and worker.answers[stream].count is None


def test_items_before_an_error_arrive(worker):
    stream = worker.begin("count_and_fail", 3, stream=True)
    error = worker.fails(stream)
    assert error["code"] == "ENGINE_CALL" and error["message"] == "after 3"
    assert worker.answers[stream].items == [0, 1, 2]
    assert worker.fails(worker.begin("count_and_fail", 3))["message"] == "after 3"


def test_64_items_are_sent_until_the_caller_asks_for_more(worker):
    stream = worker.begin("count", 200, stream=True)
    worker.pump(lambda: stream in worker.answers and len(worker.answers[stream].items) == STREAM_DEMAND)
    assert worker.call("add", 1) == 2, "a small stream that is buffered does not hold the thread"
    worker.idle(0.1)
    assert len(worker.answers[stream].items) == STREAM_DEMAND
    worker.demand(stream, 100, 60)
    worker.pump(lambda: len(worker.answers[stream].items) == 100)
    worker.idle(0.1)
    assert len(worker.answers[stream].items) == 100
    worker.demand(stream, 1000)
    assert worker.wait(stream) == "end of 200" and worker.answers[stream].items == list(range(200))


def test_a_demand_that_comes_before_the_stream_begins_counts(worker):
    worker.begin("sleep", 0.3)
    stream = worker.begin("count", 150, stream=True)
    worker.demand(stream, 200)
    assert worker.wait(stream) == "end of 150"


def test_the_producer_is_held_once_the_buffer_is_full_and_goes_on_with_demand():
    with Worker(BARE, {"WHIPRAY_STREAM_BUFFER_BYTES": "100000"}) as worker:
        worker.create(ENGINE)
        stream = worker.begin("count", 100, 10_000, stream=True)
        after = worker.begin("add", 1)
        worker.pump(lambda: stream in worker.answers and len(worker.answers[stream].items) == STREAM_DEMAND)
        worker.idle(0.2)
        assert worker.ask("health")["method"] == "count" and after not in worker.answers
        worker.demand(stream, 100)
        assert worker.wait(stream) == "end of 100" and worker.wait(after) == 2


def test_a_stalled_stream_fails_and_the_queue_goes_on():
    env = {"WHIPRAY_STREAM_BUFFER_BYTES": "100000", "WHIPRAY_STREAM_STALL_MS": "300"}
    with Worker(BARE, env) as worker:
        worker.create(ENGINE)
        stream = worker.begin("endless", 10_000, stream=True)
        after = worker.begin("add", 1)
        error = worker.fails(stream)
        assert error["code"] == "STREAM_STALLED"
        assert error["details"]["stallMs"] == 300 and error["details"]["nextItem"] == STREAM_DEMAND and error["details"]["bufferedBytes"] > 100_000
        assert len(worker.answers[stream].items) == STREAM_DEMAND
        assert worker.wait(after) == 2
        assert worker.call("facts")["log"] == ["closed", 1]


def test_after_a_stalled_stream_a_collective_of_all_ranks_goes_through():
    """The rank whose stream nobody reads comes late to the collective, which waits for it; no rank is lost."""
    env = {"WHIPRAY_STREAM_BUFFER_BYTES": "100000", "WHIPRAY_STREAM_STALL_MS": "400"}
    with Worker(BARE, env) as first, Worker(BARE, env) as second:
        for worker in (first, second):
            worker.create("whipray_samples.plain.Engine")
            worker.create("whipray_samples.collective.Rank", "rank")
        port = first.call("listen", engine="rank")
        stream = first.begin("endless", 10_000, stream=True)
        met = first.begin("meet", 0, port, 10, engine="rank"), second.begin("meet", 1, port, 32, engine="rank")
        assert first.fails(stream)["code"] == "STREAM_STALLED"
        assert (first.wait(met[0]), second.wait(met[1])) == (42, 42)


def test_a_stream_without_credit_stalls_too_and_its_error_comes_with_the_next_credit():
    env = {"WHIPRAY_STREAM_BUFFER_BYTES": "100000", "WHIPRAY_STREAM_STALL_MS": "300"}
    with Worker(BARE, env, grant=False) as worker:
        worker.create(ENGINE)
        stream = worker.begin("endless", 200_000, stream=True)
        after = worker.begin("add", 1)
        assert worker.wait(after) == 2, "the reserve of the credit is for small replies"
        used = ROUTE_WINDOW_BYTES - worker.window[2]
        assert used > ROUTE_WINDOW_BYTES - 200_000
        worker.credit(ROUTE_WINDOW_BYTES)
        assert worker.fails(stream)["code"] == "STREAM_STALLED"


def test_break_closes_the_generator(worker):
    stream = worker.begin("endless", 10, stream=True)
    worker.pump(lambda: stream in worker.answers and len(worker.answers[stream].items) >= 3)
    worker.cancel(stream)
    assert worker.fails(stream)["code"] == "CANCELLED"
    assert worker.call("facts")["log"] == ["closed"]


def test_break_frees_a_producer_that_is_held():
    with Worker(BARE, {"WHIPRAY_STREAM_BUFFER_BYTES": "1000"}) as worker:
        worker.create(ENGINE)
        stream = worker.begin("endless", 10_000, stream=True)
        worker.pump(lambda: stream in worker.answers and len(worker.answers[stream].items) == STREAM_DEMAND)
        worker.running("endless")
        worker.cancel(stream)
        assert worker.fails(stream)["code"] == "CANCELLED"
        assert worker.call("facts")["log"] == ["closed"]


def test_break_after_the_generators_end_drops_what_is_buffered(worker):
    stream = worker.begin("count", 100, stream=True)
    worker.pump(lambda: stream in worker.answers and len(worker.answers[stream].items) == STREAM_DEMAND)
    worker.call("add", 1)
    worker.cancel(stream)
    assert worker.fails(stream)["code"] == "CANCELLED" and len(worker.answers[stream].items) == STREAM_DEMAND


def test_the_deadline_of_a_stream(worker):
    stream = worker.begin("endless", 10, stream=True, head={"d": 300})
    assert worker.fails(stream)["code"] == "DEADLINE_EXCEEDED"
    assert worker.call("facts")["log"] == ["closed"]


def test_an_item_that_cannot_cross_is_named(worker):
    worker.create("whipray_samples.streams.Odd", "o")
    stream = worker.begin("unfit_item", engine="o", stream=True)
    error = worker.fails(stream)
    assert error["code"] == "NOT_SERIALISABLE" and error["details"]["path"] == "item[1].x"
    assert worker.answers[stream].items == [0]
    assert worker.call("closed", engine="o") is True


def test_a_large_reply_without_credit_holds_back_no_other_route_and_no_small_reply():
    with Worker(BARE, grant=False) as worker:
        worker.create(ENGINE)
        worker.open(4)
        large = worker.begin("give", "x" * 6_000_000, stream=False)
        worker.pump(lambda: worker.window[2] < 300_000)
        worker.idle(0.2)
        assert not worker.answers[large].done
        assert worker.window[2] > 0
        assert worker.ask("health")["status"] == "healthy"
        assert worker.ask("health", route=4)["status"] == "healthy"
        assert worker.call("add", 1) == 2
        worker.credit(8_000_000)
        assert worker.wait(large) == "x" * 6_000_000


def test_the_host_grants_what_it_took(worker):
    for _ in range(8):
        worker.call("give", "x" * 1_000_000)
    assert worker.granted[2] > 8_000_000 - ROUTE_WINDOW_BYTES // 4
