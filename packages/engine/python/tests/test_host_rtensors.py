"""areal 6.25: tensors that stay on their engine (RTensor): kept, fetched, used in place, freed, limited."""

import re

import pytest
from host_pythons import BARE, FULL, PYTHONS
from host_worker import ADDRESS, Remote, Worker

from whipray_engine import rtensor
from whipray_engine.errors import HostError
from whipray_engine.limits import TENSORS_A_FETCH
from whipray_engine.tensor import ObjectRef, Tensor

np = pytest.importorskip("numpy")
ENGINE = "whipray_samples.remote.Remote"


def remote(worker, method, *args, engine="e", **extra):
    return worker.request("call", dict({"method": method, "engineName": engine, "args": list(args), "remote": True}, **extra))


def kept(worker):
    health = worker.ask("health")
    return health.get("tensors", 0), health.get("tensorBytes", 0)


def fetch(worker, *refs):
    return [bytes(one) for one in worker.ask("fetch_tensors", {"ids": [ref.fields[0] for ref in refs]})]


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS.keys())
def test_areal_6_25_a_result_becomes_meta_data_and_references_and_a_fetch_restores_values_in_order(python):
    with Worker(python) as worker:
        worker.create(ENGINE)
        result = worker.wait(remote(worker, "batch", 3, 70_000))
        small, large, pair = result["rows"][0]["ids"], result["rows"][1]["ids"], result["pair"][1]
        assert result["step"] == 7 and [row["n"] for row in result["rows"]] == [3, 70_000] and result["pair"][0] == 1
        assert re.fullmatch("rtensor_[a-z0-9]{8}_1:u1:3", small.fields[0]) and small.fields[1] == ADDRESS and large.fields[3] == 70_000
        assert kept(worker) == (3, 70_005)
        expected = bytes(i % 256 for i in range(70_000))
        assert fetch(worker, pair, large, small) == [expected[:2], expected, expected[:3]]
        assert worker.ask("clear_tensors", {"ids": [small.fields[0]]}) == {"cleared": 1, "bytes": 3}
        assert worker.ask("clear_tensors", {"ids": [small.fields[0]]}) == {"cleared": 0, "bytes": 0}
        assert worker.ask("clear_tensors") == {"cleared": 2, "bytes": 70_002} and kept(worker) == (0, 0)


@pytest.mark.parametrize("dtype", ["?", "i1", "i8", "f2", "f4", "c16", ">f8"])
def test_areal_6_25_dtypes_and_shapes_survive_and_what_is_kept_is_what_it_was_at_the_return(dtype):
    with Worker(FULL) as worker:
        array = (np.arange(60) % 2).astype(dtype).reshape(3, 4, 5)
        worker.create("whipray_samples.arrays.Arrays", args=[array])
        one = worker.wait(remote(worker, "shared"))["w"]
        worker.call("overwrite", 5)
        (back,) = worker.ask("fetch_tensors", {"ids": [one.fields[0]]})
        assert back.dtype == array.dtype.newbyteorder("<") and back.shape == (3, 4, 5) and (back == array).all()
        used = worker.wait(worker.request("call", {"method": "describe", "args": [one], "local": True}))
        assert used["shape"] == [3, 4, 5] and used["writable"] is False and used["type"] == "ndarray"


def test_areal_6_25_a_missing_tensor_is_named_with_all_others_that_are_missing(worker):
    one = worker.wait(remote(worker, "batch", 3))["rows"][0]["ids"]
    error = worker.fails(worker.request("fetch_tensors", {"ids": [one.fields[0], "rtensor_8:u1:1", "rtensor_9:u1:1"]}))
    assert error["code"] == "RTENSOR_NOT_FOUND" and error["details"]["missing"] == ["rtensor_8:u1:1", "rtensor_9:u1:1"]
    assert "rtensor_8:u1:1, rtensor_9:u1:1" in error["message"]
    foreign = ObjectRef(one.fields[0], "node_other/engine_other", "inc", None, None)
    for lost in (foreign, ObjectRef("rtensor_9:u1:1", ADDRESS, "inc", None, None)):
        error = worker.fails(worker.request("call", {"method": "size", "args": [lost], "local": True}))
        assert error["code"] == "RTENSOR_NOT_FOUND" and lost.fields[0] in error["message"]


def test_an_engine_uses_its_own_tensors_in_place_and_other_references_pass_through(worker):
    one = worker.wait(remote(worker, "batch", 5000))["rows"][0]["ids"]
    nested = {"method": "size", "args": [one], "local": True}
    assert worker.wait(worker.request("call", nested)) == {"type": "Tensor", "bytes": 5000}
    object_ref = ObjectRef("object_1", ADDRESS, "inc", 3, None)
    worker.create("whipray_samples.plain.Engine", "plain")
    asked = {"method": "give", "engineName": "plain", "args": [[object_ref, {"mine": one}]], "local": True}
    assert worker.wait(worker.request("call", asked))[0] == object_ref


def test_fetches_are_answered_while_a_method_runs_and_never_for_more_than_32_at_once(worker):
    result = worker.wait(remote(worker, "batch", *range(1, TENSORS_A_FETCH + 2)))
    rows = [row["ids"] for row in result["rows"]]
    running = worker.begin("slow", 0.5)
    worker.running("slow")
    assert len(fetch(worker, *rows[:TENSORS_A_FETCH])) == TENSORS_A_FETCH and running not in worker.answers
    for bad in ([one.fields[0] for one in rows], [], "rtensor_1", [1]):
        assert worker.fails(worker.request("fetch_tensors", {"ids": bad}))["code"] == "INVALID_ARGUMENT"
    assert worker.fails(worker.request("clear_tensors", {"ids": "all"}))["code"] == "INVALID_ARGUMENT"
    worker.wait(running)


def test_fetches_and_clears_at_the_same_time_give_whole_tensors_or_a_clear_error(worker):
    """areal 6.25: concurrent reads and writes are safe."""
    refs = [row["ids"] for row in worker.wait(remote(worker, "batch", *[20_000] * 30))["rows"]]
    asked = []
    for index, ref in enumerate(refs):
        asked.append(worker.request("fetch_tensors", {"ids": [one.fields[0] for one in refs]}))
        worker.request("clear_tensors", {"ids": [ref.fields[0]]})
        asked.append(remote(worker, "batch", index + 1))
    for one in asked:
        try:
            worker.wait(one)
        except Remote as error:
            assert error.code == "RTENSOR_NOT_FOUND"
    made = asked[1::2]
    assert kept(worker)[0] == 2 * len(made) + 1, "two of each batch, and the pair of the first"


def test_the_limit_fails_the_call_and_keeps_nothing_of_it():
    with Worker(BARE, {"WHIPRAY_RTENSOR_BYTES": "10000"}) as worker:
        worker.create(ENGINE)
        worker.wait(remote(worker, "batch", 4000))
        error = worker.fails(remote(worker, "batch", 5000, 2000))
        assert error["code"] == "RTENSOR_LIMIT" and "clearTensors" in error["message"] and error["details"]["limitBytes"] == 10_000
        assert kept(worker) == (2, 4002)
        worker.ask("clear_tensors")
        worker.wait(remote(worker, "batch", 5000, 2000))


def test_the_number_of_tensors_is_limited_too(monkeypatch):
    monkeypatch.setattr(rtensor, "KEPT_TENSORS_LIMIT", 3)
    store = rtensor.RTensors(ADDRESS, "inc_of_this_test", 1_000)
    store.keep([Tensor("u1", [1], b"a"), Tensor("u1", [1], b"b")], "e")
    with pytest.raises(HostError, match="the limits are 3 and 1000"):
        store.keep([Tensor("u1", [1], b"c"), Tensor("u1", [1], b"d")], "e")
    assert len(store.kept) == 2 and store.bytes == 2
    store.keep(Tensor("u1", [1], b"c"), "e")


def test_a_result_that_cannot_cross_keeps_nothing_and_is_named(worker):
    error = worker.fails(remote(worker, "unfit"))
    assert error["code"] == "NOT_SERIALISABLE" and "result[1].x" in error["message"]
    assert kept(worker) == (0, 0)


def test_an_answer_that_nobody_takes_any_more_keeps_nothing(worker):
    late = worker.request("call", {"method": "slow", "args": [0.3], "remote": True}, d=100)
    assert worker.fails(late)["code"] == "DEADLINE_EXCEEDED"
    worker.call("size", b"")
    assert kept(worker) == (0, 0)


def test_items_of_a_stream_and_results_of_async_engines_stay_too(worker):
    stream = worker.request("call", {"method": "stream", "args": [3], "remote": True}, stream=True)
    last = worker.wait(stream)
    items = [item["ids"] for item in worker.answers[stream].items]
    assert [len(one) for one in fetch(worker, *items, last)] == [1, 2, 3, 1]
    with Worker(FULL) as other:
        other.create("whipray_samples.remote.AsyncRemote")
        (one,) = other.wait(remote(other, "batch", 9))
        assert [len(data) for data in fetch(other, one)] == [9]


def test_no_two_hosts_give_the_same_id(worker):
    mine = worker.wait(remote(worker, "batch", 3))["rows"][0]["ids"]
    with Worker(BARE) as other:
        other.create(ENGINE)
        assert other.wait(remote(other, "batch", 3))["rows"][0]["ids"] != mine
        assert other.fails(other.request("fetch_tensors", {"ids": [mine.fields[0]]}))["code"] == "RTENSOR_NOT_FOUND"


def test_the_end_of_an_engine_frees_what_it_made(worker):
    worker.create(ENGINE, "f")
    worker.wait(remote(worker, "batch", 10))
    worker.wait(remote(worker, "batch", 20, engine="f"))
    worker.ask("destroy", {"engineName": "e"})
    assert kept(worker) == (2, 22)
