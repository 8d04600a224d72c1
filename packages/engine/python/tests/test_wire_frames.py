"""Frames: splitting, parts, chunks, credit."""

import random

import pytest
from host_worker import PACKAGE  # noqa: F401

from whipray_engine.assembly import Assembly, memory, part_lengths, too_large
from whipray_engine.errors import ProtocolError
from whipray_engine.frame import CHUNK, CHUNKED, FROM_CALLEE, PING, PREFIX, REPLY, Splitter, frame
from whipray_engine.limits import BULK_RESERVE_BYTES, CHUNK_BYTES, INLINE_BYTES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, PREFIX_BYTES
from whipray_engine.message import Message
from whipray_engine.timers import Timers


def test_the_prefix_is_twenty_little_endian_bytes():
    data = frame(REPLY, 0x01020304, b"head", b"body!", FROM_CALLEE, 0x0A0B0C0D0E0F)
    assert data.hex() == "09000000" "04030201" "13" "02" "0400" "0f0e0d0c0b0a0000" + b"headbody!".hex()


def test_frames_survive_every_way_of_being_cut():
    rng = random.Random(1)
    sent = [(rng.randrange(9), 23, 0, i, b"h" * rng.randrange(30), rng.randbytes(rng.choice([0, 1, 100, 70000, 524000]))) for i in range(60)]
    stream = b"".join(frame(kind, route, header, body, flags, sequence) for route, kind, flags, sequence, header, body in sent)
    splitter, got, at = Splitter(), [], 0
    while at < len(stream):
        room = splitter.room()
        assert len(room)
        count = min(len(room), rng.choice([1, 19, 20, 21, 5000, 300000]), len(stream) - at)
        room[:count] = stream[at : at + count]
        at += count
        splitter.received(count)
        got += [(route, kind, flags, sequence, bytes(header), bytes(body)) for route, kind, flags, sequence, header, body in splitter.frames()]
    assert got == sent


@pytest.mark.parametrize("length, header", [(MAX_FRAME_BYTES + 1, 0), (2**32 - 1, 0), (10, 11)])
def test_b1_an_impossible_prefix_is_refused_before_its_bytes_are_there(length, header):
    splitter = Splitter()
    data = PREFIX.pack(length, 0, PING, 0, header, 0)
    splitter.room()[: len(data)] = data
    splitter.received(len(data))
    with pytest.raises(ProtocolError) as caught:
        list(splitter.frames())
    assert caught.value.code == "FRAME_SIZE"


def test_parts_are_filled_from_pieces_of_any_size():
    rng = random.Random(2)
    for lengths in ([0], [5], [0, 0, 7], [100, 0, 300_000, 1], [1] * 50):
        whole = rng.randbytes(sum(lengths))
        assembly = Assembly(lengths)
        at = 0
        while assembly.missing:
            count = min(rng.choice([1, 7, 5000]), assembly.missing)
            assembly.feed(memoryview(whole)[at : at + count])
            at += count
        parts = assembly.take()
        assert [len(part) for part in parts] == lengths and b"".join(bytes(part) for part in parts) == whole
        assert type(parts[0]) is bytes


def test_more_bytes_than_announced_break_the_protocol():
    with pytest.raises(ProtocolError):
        Assembly([3]).feed(memoryview(b"abcd"))


def test_sixteen_gib_are_announced_without_being_used():
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = memory(MAX_MESSAGE_BYTES)
    assert len(part) == MAX_MESSAGE_BYTES
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize(
    "header, chunked, length", [({"p": [3]}, False, 4), ({"p": [3]}, True, 3), ({}, True, 0), ({"p": []}, False, 0), ({"p": [-1, 5]}, False, 4), ({"p": "x"}, False, 4), ({"p": [1] * 4097}, False, 4097), ({"p": [True]}, False, 1)]
)
def test_part_lengths_that_cannot_be_are_refused(header, chunked, length):
    with pytest.raises(ProtocolError):
        part_lengths(header, chunked, length)


def test_part_and_message_limits():
    assert too_large([64 << 20]) is None and too_large([1, MAX_MESSAGE_BYTES - 1]) is None
    assert "part 0" in too_large([(64 << 20) + 1])
    assert "17179869184" in too_large([1, MAX_MESSAGE_BYTES])


def drain(message, room):
    frames = []
    while not message.done:
        got = message.pull(2, room)
        if got is None:
            return frames, False
        buffers, size = got
        data = b"".join(bytes(one) for one in buffers)
        assert len(data) == size
        frames.append(data)
    return frames, True


def test_up_to_64_kib_travel_in_one_frame_and_more_in_chunks():
    frames, _ = drain(Message(REPLY, 5, {}, [b"x" * INLINE_BYTES]), 1 << 30)
    assert len(frames) == 1
    parts = [b"a" * 10, b"b" * (CHUNK_BYTES + 5), b"", b"c" * 7]
    frames, _ = drain(Message(REPLY, 5, {}, parts), 1 << 30)
    kinds = [(data[8], data[9], len(data) - PREFIX_BYTES) for data in frames]
    assert [kind[:2] for kind in kinds] == [(REPLY, CHUNKED), (CHUNK, FROM_CALLEE), (CHUNK, FROM_CALLEE)]
    assert b"".join(data[PREFIX_BYTES:] for data in frames[1:]) == b"".join(parts)


def test_chunks_leave_the_reserve_and_small_frames_may_use_it():
    assert drain(Message(REPLY, 5, {}, [b"x" * 1000]), 1100)[1] is True
    assert drain(Message(REPLY, 5, {}, [b"x" * 1000]), 1000)[1] is False
    frames, whole = drain(Message(REPLY, 5, {}, [b"x" * 100_000]), BULK_RESERVE_BYTES + 1000)
    assert len(frames) == 1 and not whole


def test_cancelled_timers_do_not_pile_up():
    timers, rang = Timers(), []
    for i in range(10_000):
        timers.cancel(timers.at(7_200_000, rang.append, i))
    assert len(timers.heap) < 3_000
    timers.at(0, rang.append, "due")
    assert timers.run() is None or rang == ["due"]
    assert rang == ["due"]
