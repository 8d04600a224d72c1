"""Large results: kept until they are written into a segment or sent; a segment's place is checked; messages that lie in the store."""

import fcntl
import os

import pytest

from whipray_engine import segments, wire
from whipray_engine.errors import DecodeError, HostError
from whipray_engine.limits import KEPT_RESULTS_LIMIT
from whipray_engine.results import Results

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux only")


@pytest.fixture
def segment():
    fd = os.memfd_create("whipray-test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 131_072)
    fcntl.fcntl(fd, 1033, 6)
    yield {"pid": os.getpid(), "fd": fd, "name": "whipray-test", "bytes": 131_072}
    os.close(fd)


def stored(fields):
    body = wire.pack(fields)
    return [bytes((0xC7, len(body), segments.STORED)) + body]


class Sink:
    def __init__(self, parts):
        self.parts = parts

    def seal(self):
        return self.parts


def keep(results, parts, line):
    return results.keep(Sink(parts), line)[1]


def token_of(parts):
    return segments.stored_fields(parts)[0]


def test_a_result_is_written_once_and_read_back_by_whoever_maps_it(segment):
    results = Results()
    reply = keep(results, [b"head", b"x" * 50_000], None)
    token, _, _, size, location = segments.stored_fields(reply)
    assert location == "engine"
    results.store(token, segment)
    with pytest.raises(HostError, match="no result"):
        results.store(token, segment)
    attached = segments.Attached()
    message = stored(["obj_1", "a", "b", size, "node_a/raylet", segment["pid"], segment["fd"], "whipray-test", 131_072])
    parts = attached.resolve(message)
    assert [bytes(part) for part in parts] == [b"head", b"x" * 50_000]
    assert attached.held(["obj_1", "obj_2"]) == ["obj_1"]
    del parts
    assert attached.held(["obj_1"]) == []


def test_a_result_that_could_not_be_written_can_be_sent(segment):
    results = Results()
    token = token_of(keep(results, [b"x" * 200_000], None))
    with pytest.raises(HostError, match="needs 200064 bytes"):
        results.store(token, segment)
    with pytest.raises(HostError, match="must be"):
        results.store(token, {"pid": "1"})
    assert results.send(token).parts == [b"x" * 200_000]
    with pytest.raises(HostError, match="no result"):
        results.send(token)


def test_the_oldest_of_too_many_results_is_dropped():
    results = Results()
    first = token_of(keep(results, [b"x"], None))
    for _ in range(KEPT_RESULTS_LIMIT):
        keep(results, [b"x"], None)
    with pytest.raises(HostError, match="no result"):
        results.send(first)


@pytest.mark.parametrize("fields", [[], ["obj_1", "a", "b", 10, "c"], ["obj_1", "a", "b", -1, "c", 1, 1, "n", 1], ["obj_1", "a", "b", 1, "c", 1, 1, 5, 1]])
def test_a_stored_message_that_says_not_where_is_refused(fields):
    attached = segments.Attached()
    with pytest.raises(DecodeError):
        attached.resolve(stored(fields))
    assert attached.held(["obj_1"]) == []


def test_other_messages_are_not_touched():
    parts = [wire.pack({"a": 1})]
    assert segments.Attached().resolve(parts) is parts


def test_what_waits_for_a_caller_that_is_gone_goes():
    results, gone, stays = Results(), object(), object()
    lost, kept = token_of(keep(results, [b"x"], gone)), token_of(keep(results, [b"y"], stays))
    results.forget(gone)
    assert results.send(kept).parts == [b"y"]
    with pytest.raises(HostError, match="there is no result"):
        results.send(lost)
