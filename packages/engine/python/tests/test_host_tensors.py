"""Tensors through a whole host: with numpy on both sides, and with none in the host."""

import fcntl
import os

import pytest
from host_pythons import BARE, FULL
from host_worker import Worker

from whipray_engine import wire
from whipray_engine.frame import REPLY
from whipray_engine.tensor import Tensor

np = pytest.importorskip("numpy")
ARRAYS = "whipray_samples.arrays.Arrays"


@pytest.fixture(scope="module")
def shared():
    with Worker(FULL) as one:
        one.create(ARRAYS)
        yield one


@pytest.mark.parametrize("size", [3, 2000, 100_000])
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i4", "i8", "f2", "f4", "f8", "c16"])
def test_arrays_go_in_and_come_out(shared, size, dtype):
    array = (np.arange(size) % 2).astype(dtype)
    seen = shared.call("describe", array)
    assert seen["dtype"] == str(array.dtype) and seen["shape"] == [size] and seen["writable"] and seen["type"] == "ndarray"
    back = shared.call("give", array)
    assert back.dtype == array.dtype and (back == array).all()


def test_64_mib_go_in_and_come_out_in_chunks(shared):
    array = np.arange(16 << 20, dtype="f4").reshape(4096, 4096)
    running = shared.begin("double", array)
    assert shared.ask("health")["status"] == "healthy"
    back = shared.wait(running, 120)
    assert back.shape == (4096, 4096) and (back == array * 2).all()


def test_arrays_in_odd_forms_come_out_right(shared):
    base = np.arange(60_000, dtype="f8").reshape(300, 200)
    got = shared.call("awkward")
    assert (got["t"] == base.T).all() and (got["step"] == base[::2, ::3]).all() and (got["big"] == base).all()
    assert got["zero"].shape == (0, 3) and got["scalar"].shape == () and got["scalar"] == 3.5 and got["item"] == 2.5 and got["flag"] is True
    error = shared.fails(shared.begin("bad"))
    assert error["code"] == "NOT_SERIALISABLE" and "result.x" in error["message"]


def test_a_result_that_the_engine_still_holds_is_what_it_was_at_the_return(shared):
    """The reply waits for credit while the next call overwrites the array."""
    with Worker(FULL, grant=False) as worker:
        worker.create(ARRAYS, args=[np.zeros(2_000_000, "f4")])
        held = worker.begin("shared")
        worker.pump(lambda: worker.window[2] < 300_000)
        worker.call("overwrite", 7.0)
        worker.credit(16 << 20)
        assert not worker.wait(held)["w"].any()


def test_tensors_of_a_stream(shared):
    stream = shared.begin("batches", 12, 50_000, stream=True)
    shared.wait(stream)
    items = shared.answers[stream].items
    assert [item["i"] for item in items] == list(range(12))
    assert all(item["data"].shape == (50_000,) and (item["data"] == item["i"]).all() for item in items)


def test_numpy_is_seeded_before_the_first_constructor_and_tensors_may_come_first():
    drawn = []
    for _ in range(2):
        with Worker(FULL) as worker:
            assert worker.ask("info")["loaded"] == []
            worker.ask("configure", {"config": {"seed": 5}, "role": "actor", "rank": 1})
            worker.create(ARRAYS, kwargs={"weights": np.ones(5000, "f4")})
            assert "numpy" in worker.ask("info")["loaded"]
            assert worker.call("shared")["w"].sum() == 5000
            drawn.append(worker.call("random"))
    assert drawn[0] == drawn[1]


def test_without_numpy_in_the_host_tensors_pass_as_plain_objects():
    with Worker(BARE) as worker:
        worker.create("whipray_samples.plain.Engine")
        for array in (np.arange(6, dtype="i2").reshape(2, 3), np.arange(100_000, dtype="f4")):
            back = worker.call("give", [array])[0]
            assert back.dtype == array.dtype and back.shape == array.shape and (back == array).all()
        bits = worker.call("give", Tensor("bf2", [3000], bytes(6000)))
        assert bits.dtype == np.uint16 and bits.shape == (3000,)
        assert "numpy" not in worker.ask("info")["loaded"]


def test_large_bytes_and_strings(shared):
    blob = bytes(range(256)) * 4000
    assert shared.call("give", [blob, "é" * 500_000]) == [blob, "é" * 500_000]


MEBIBYTES_8 = 2 << 20
"""Of f4: above LENT_BYTES."""


@pytest.fixture
def holding():
    with Worker(FULL) as one:
        one.create(ARRAYS, args=[np.zeros(MEBIBYTES_8, "f4")])
        yield one


def stored(worker):
    """Calls `shared` as callers do whose side has a store: the answer is a token."""
    tokens = []
    answer = worker.answer

    def take(kind, flags, sequence, header, body):
        if kind == REPLY and bytes(body[:1]) == b"\xc7":
            tokens.append(wire.unpack(bytes(body)[3:])[0])
        else:
            answer(kind, flags, sequence, header, body)

    worker.answer = take
    worker.request("call_stored", {"method": "shared", "engineName": "e"})
    worker.pump(lambda: tokens)
    worker.answer = answer
    return tokens[0]


def test_a_large_result_that_the_engine_holds_is_written_to_the_store_before_the_next_call_runs(holding):
    memory = os.memfd_create("whipray-test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    size = (MEBIBYTES_8 << 2) + (1 << 20)
    os.ftruncate(memory, size)
    fcntl.fcntl(memory, 1033, 6)
    try:
        token = stored(holding)
        overwritten = holding.begin("overwrite", 7.0)
        segment = {"pid": os.getpid(), "fd": memory, "name": "whipray-test", "bytes": size}
        holding.ask("store_result", {"token": token, "segment": segment})
        holding.wait(overwritten)
        assert not np.frombuffer(os.pread(memory, size, 4096), "f4")[: MEBIBYTES_8 - 1024].any()
    finally:
        os.close(memory)


def test_nobody_fetches_it_in_time_so_it_is_copied_and_the_next_call_runs(holding):
    token = stored(holding)
    holding.call("overwrite", 7.0)
    assert not holding.ask("send_result", {"token": token})["w"].any()


def test_what_is_sent_instead_of_written_is_what_it_was_at_the_return(holding):
    token = stored(holding)
    overwritten = holding.begin("overwrite", 7.0)
    sent = holding.ask("send_result", {"token": token})
    holding.wait(overwritten)
    assert not sent["w"].any()
