"""The scanner and both codecs: same bytes, same values, same refusals."""

import math
import random
import struct
import sys

import pytest
from host_worker import wire

from whipray_engine import plain, tensor
from whipray_engine.errors import DecodeError, HostError, NotSerialisable
from whipray_engine.limits import MAX_DEPTH
from whipray_engine.scan import scan

try:
    import msgpack
except ImportError:
    msgpack = None
packb = msgpack.packb if msgpack else plain.pack


@pytest.fixture(params=["C", "plain"] if msgpack else ["plain"])
def codec(request, monkeypatch):
    monkeypatch.setattr(wire, "_c", msgpack if request.param == "C" else None)
    return request.param


def unpackb(data):
    return msgpack.unpackb(data, strict_map_key=True) if msgpack else plain.unpack(data, None)


def extension(code, fields):
    return plain.pack(object(), lambda _: (code, plain.pack(fields)))


VALUES = [
    None, True, False, 0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53, 2**64 - 1, -1, -32, -33, -128, -129, -32768, -32769, -(2**31),
    -(2**31) - 1, -(2**63), 0.0, -0.0, 1.5, 1e300, math.inf, "", "a", "é" * 20, "x" * 31, "x" * 32, "x" * 255, "x" * 256, "y" * 65536, "😀", b"", b"\x00\xff",
    b"z" * 255, b"z" * 256, b"z" * 4096, [], [1] * 15, [1] * 16, list(range(70000)), {}, {"a": 1}, {"k%d" % i: i for i in range(16)}, {str(i): i for i in range(70000)},
    [[[]]], {"a": [{"b": {"c": None}}, "d"]}, {"prototype": 1, "constructor": 2},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: repr(v)[:20])
def test_both_codecs_give_the_bytes_of_msgpack_and_take_them_back(value, codec):
    data = packb(value)
    parts = wire.encode([value])
    assert parts == [data]
    assert wire.decode(parts) == value
    assert type(wire.decode(parts)) is type(value)


def random_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 6 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([1, -1]) * rng.getrandbits(rng.randrange(1, 63))
    if kind == 2:
        return struct.unpack("<d", rng.randbytes(8))[0]
    if kind == 3:
        return "".join(chr(rng.choice([65, 233, 0x20AC, 0x1F600])) for _ in range(rng.randrange(40)))
    if kind == 4:
        return rng.randbytes(rng.randrange(300))
    if kind == 5:
        return [rng.randrange(-100, 300) for _ in range(rng.choice([0, 3, 20, 511, 512, 513, 1500]))]
    if kind == 6:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {"k%d" % i: random_value(rng, depth + 1) for i in range(rng.randrange(20))}


def test_random_values_are_the_same_through_both_codecs():
    rng = random.Random(7)
    for _ in range(300):
        value = random_value(rng)
        data = plain.pack(value)
        assert data == packb(value)
        scan(data)
        assert repr(plain.unpack(data, None)) == repr(value) == repr(unpackb(data))


def mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        if data and rng.random() < 0.7:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif rng.random() < 0.5:
            data = data[: rng.randrange(len(data) + 1)]
        else:
            data += rng.randbytes(2)
    return bytes(data)


def test_a_small_message_is_decoded_at_once_only_where_the_scanner_passes_it(codec):
    rng = random.Random(9)
    sure = 0
    for number in range(8000):
        whole = packb(random_value(rng, 4))
        data = mutated(rng, whole) if number % 4 else whole
        value = wire.decode_small(data)
        if value is wire.UNSURE:
            continue
        sure += 1
        assert not scan(data)
        assert repr(value) == repr(plain.unpack(data, None))
    assert sure > 2000
    for data in (b"\xc1", b"", b"\x80\x00", b"\xa3ab", b"\xa2\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x81\x01\x02", b"\x81\xc4\x01a\x02", b"\x81\x90\x01",
                 b"\x81\xa9__proto__\x01", b"\x91" * 65 + b"\xc0", b"\xd6\xff" + bytes(4), b"\xd7\xff" + bytes(8), b"\xc7\x0c\xff" + bytes(12), b"\xd4\x01\x00"):
        assert wire.decode_small(data) is wire.UNSURE
    assert wire.decode_small(b"\x91" * 64 + b"\xc0") == unpackb(b"\x91" * 64 + b"\xc0")


def test_what_the_scanner_passes_both_codecs_read_alike_and_never_crash_on():
    rng = random.Random(8)
    passed = 0
    for _ in range(4000):
        data = mutated(rng, packb(random_value(rng, 4)))
        try:
            if scan(data):
                continue
        except DecodeError as error:
            assert error.code.startswith("DECODE_")
            continue
        passed += 1
        assert repr(plain.unpack(data, None)) == repr(unpackb(data))
    assert passed > 200


def nested(depth, middle=b"\xc0"):
    return b"\x91" * depth + middle


@pytest.mark.parametrize(
    "code, data",
    [
        ("DECODE_LENGTH", b""),
        ("DECODE_LENGTH", bytes.fromhex("dd01ffffff")),
        ("DECODE_LENGTH", bytes.fromhex("dfffffffff")),
        ("DECODE_LENGTH", bytes.fromhex("c6ffffffff00")),
        ("DECODE_LENGTH", bytes.fromhex("dbffffffff00")),
        ("DECODE_LENGTH", bytes.fromhex("c9ffffffff01")),
        ("DECODE_LENGTH", b"\xcb\x00"),
        ("DECODE_LENGTH", b"\xda\x00"),
        ("DECODE_LENGTH", b"\x92\x01"),
        ("DECODE_LENGTH", b"\x81\xa1a"),
        ("DECODE_LENGTH", b"\xdc\x04\x00" + b"\x01" * 1000),
        ("DECODE_DEPTH", nested(65)),
        ("DECODE_DEPTH", nested(1_000_000)),
        ("DECODE_UTF8", b"\xa1\xff"),
        ("DECODE_UTF8", b"\xa3\xed\xa0\x80"),
        ("DECODE_UTF8", b"\xa2\xc0\x80"),
        ("DECODE_BYTE", b"\xc1"),
        ("DECODE_BYTE", b"\x92\x01\xc1"),
        ("DECODE_EXT", b"\xd4\x70\x00"),
        ("DECODE_EXT", b"\xd6\xff\x00\x00\x00\x00"),
        ("DECODE_EXT", b"\xd4\x04\x00"),
        ("DECODE_TRAILING", b"\x01\x02"),
        ("DECODE_TRAILING", b"\x90\xc0"),
        ("DECODE_KEY", b"\x81\x01\x02"),
        ("DECODE_KEY", b"\x81\xc4\x01a\x02"),
        ("DECODE_KEY", b"\x81\x90\x02"),
        ("DECODE_KEY", b"\x81\xa9__proto__\x01"),
        ("DECODE_EXT", b"\xd6\x01\x93\xd4\x01\x00"),
        ("DECODE_DEPTH", b"\xd6\x01\x91\x91\x91\xc0"),
        ("DECODE_TRAILING", b"\xd5\x01\xc0\xc0"),
        ("DECODE_LENGTH", b"\xd4\x01\x91"),
    ],
)
def test_b6_to_b10_are_refused_before_anything_is_decoded(code, data, codec):
    with pytest.raises(DecodeError) as caught:
        wire.decode([data])
    assert caught.value.code == code


@pytest.mark.parametrize("data", [b"\x82\xa1a\x01\xa1a\x02", b"\x81\xa9__proto__\x01", b"\x81\xabconstructor\x01", b"\x81\xa9prototype\x01", b"\x81\xa1a\x81\xa9__proto__\x01"])
def test_b8_b9_headers_refuse_repeated_and_special_keys(data, codec):
    with pytest.raises(DecodeError) as caught:
        wire.decode_map(data)
    assert caught.value.code == "DECODE_KEY"
    if b"__proto__" not in data:
        wire.decode([data])  # a user's value may have them


def test_64_levels_are_read_and_written_and_65_are_not(codec):
    value = wire.decode([nested(MAX_DEPTH)])
    assert wire.encode([value]) == [nested(MAX_DEPTH)]
    with pytest.raises(NotSerialisable):
        wire.encode([[value]])


def test_a_long_list_of_numbers_is_scanned_in_runs_with_the_same_result():
    for tail in ([], ["a"], [[1]], [1] * 5, [{"a": 1}]):
        for count in (511, 512, 513, 1024, 5000):
            value = [[1, 300, -5, 2.5, None, True, 70000, -40000, 2**40][i % 9] for i in range(count)] + tail
            data = packb([value, "after", value])
            assert scan(data) is False
            for cut in (1, 7, len(data) // 2):
                with pytest.raises(DecodeError):
                    scan(data[:-cut])
            with pytest.raises(DecodeError):
                scan(data + b"\x00")


@pytest.mark.parametrize(
    "value, path, word",
    [
        ({"a": [1, {"b": {1, 2}}]}, "result.a[1].b", "set"),
        ({"a": {1: 2}}, "result.a", "keys must be strings"),
        ([2**64], "result[0]", "64 bit"),
        ([-(2**63) - 1], "result[0]", "64 bit"),
        ({"x": "\ud800"}, "result.x", "surrogate"),
        ({"x": 1j}, "result.x", "complex"),
        (object(), "result", "object"),
        ({"a": {"__proto__": 1}}, "result.a", "JavaScript"),
        ({"f": print}, "result.f", "builtin"),
    ],
)
def test_b18_a_value_that_cannot_cross_is_named_by_its_path(value, path, word, codec):
    with pytest.raises(NotSerialisable) as caught:
        wire.encode([value])
    assert caught.value.details["path"] == path
    assert word in str(caught.value)


def test_b18_a_value_that_contains_itself_is_refused(codec):
    value = {}
    value["me"] = [value]
    with pytest.raises(NotSerialisable, match="contains itself"):
        wire.encode([value])


def test_tuples_and_subclasses_cross_as_what_they_are(codec):
    class Text(str):
        pass

    class Map(dict):
        pass

    assert wire.decode(wire.encode([Map({Text("a"): (1, Text("b"), True)})])) == {"a": [1, "b", True]}


def test_bytes_up_to_4096_lie_in_part_0_and_longer_ones_are_a_part_of_their_own(codec):
    small, large = b"s" * 4096, b"l" * 4097
    parts = wire.encode([{"small": small, "large": large, "again": [bytearray(large), memoryview(large)]}])
    assert [len(part) for part in parts[1:]] == [4097] * 3
    assert parts[1] is large
    assert wire.decode(parts) == {"small": small, "large": large, "again": [large, large]}


def test_references_and_handles_pass_through(codec):
    value = [tensor.ObjectRef("obj_1", "node_a/worker_b", "inc_c", 10, None), tensor.ActorHandle("actor_1", "node_a/worker_b", "7")]
    assert wire.decode(wire.encode([value])) == value
    with pytest.raises(DecodeError):
        wire.decode([extension(2, ["obj_1"])])


@pytest.mark.parametrize(
    "fields",
    [
        ["f4", [2], 1], ["f4", [2], 0], ["f4", [2], 2], ["f4", [3], b"\0" * 8], ["f9", [2], b"\0" * 8], [1, [2], b"\0" * 8], ["f4", [-2], b""], ["f4", 2, b"\0" * 8],
        ["f4", [1.5], b"\0" * 4], ["f4", [2]], ["f4", [1] * 33, b"\0" * 4], ["f4", [2**40, 2**40], b""], ["f4", [0, 2**63], b""], ["f4", [0, 2**64 - 1], b""], {"a": 1}, 5, ["bytes", [5], b"1234"], ["u1", [5000], b"\0" * 5000],
    ],
    ids=lambda f: repr(f)[:30],
)
def test_a_malformed_tensor_is_refused(fields, codec):
    with pytest.raises(DecodeError) as caught:
        wire.decode([extension(1, fields), bytearray(7)])
    assert caught.value.code == "DECODE_EXT"


def test_part_0_has_a_limit(codec, monkeypatch):
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 1000)
    with pytest.raises(HostError) as caught:
        wire.encode([list(range(2000))])
    assert caught.value.code == "PAYLOAD_TOO_LARGE"


def test_without_numpy_tensors_are_plain_objects_of_the_same_bytes(codec, monkeypatch):
    monkeypatch.setattr(tensor, "numpy", None)
    monkeypatch.setitem(sys.modules, "numpy", None)
    for dtype, item in tensor.ITEM_BYTES.items():
        for count in (0, 6, 6000):
            made = tensor.Tensor(dtype, [count // 3, 3], bytes(count // 3 * 3 * item))
            parts = wire.encode([[made]])
            assert len(parts) == (2 if count * item > 4096 else 1)
            assert wire.decode(parts) == [made]
    with pytest.raises(ValueError, match="12 bytes, not 8"):
        tensor.Tensor("f4", [3], bytes(8))
    with pytest.raises(ValueError, match="none of"):
        tensor.Tensor("f3", [3], bytes(8))
