"""The golden vectors of packages/rpc, which the TypeScript tests read too. Every one with and without msgpack and numpy."""

import json
import math
import os
import sys

import pytest
from host_worker import PACKAGE, wire

from whipray_engine import tensor
from whipray_engine.errors import DecodeError, ProtocolError, error_wire
from whipray_engine.frame import PREFIX, Splitter, frame
from whipray_engine.handshake import _hello

VECTORS = os.path.join(PACKAGE, "..", "..", "rpc", "vectors")


def read(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as file:
        return [pytest.param(entry, id="%s %s" % (entry["name"], entry.get("as", ""))) for entry in json.load(file)]


def have(name):
    try:
        __import__(name)
        return True
    except ImportError:
        return False


@pytest.fixture(params=[(c, n) for c in (False, True) for n in (False, True) if (not c or have("msgpack")) and (not n or have("numpy"))], ids=lambda p: "msgpack %s, numpy %s" % p)
def installed(request, monkeypatch):
    """What the user's environment has: (the C package of msgpack, numpy)."""
    with_c, with_numpy = request.param
    monkeypatch.setattr(wire, "_c", sys.modules["msgpack"] if with_c else None)
    monkeypatch.setattr(tensor, "numpy", sys.modules["numpy"] if with_numpy else None)
    if not with_numpy:
        monkeypatch.setitem(sys.modules, "numpy", None)
    return request.param


def value_of(notation, arrays=False):
    """The value that the notation means; tensors as Tensor, or as numpy arrays where numpy has the dtype."""
    if isinstance(notation, list):
        return [value_of(one, arrays) for one in notation]
    if not isinstance(notation, dict):
        return notation
    if len(notation) == 1:
        (key, what), = notation.items()
        if key == "$int":
            return int(what)
        if key == "$float":
            return float(what)
        if key == "$bytes":
            return bytes.fromhex(what)
        if key == "$tensor":
            data = bytes.fromhex(what["hex"])
            if arrays and what["dtype"] != "bf2":
                return sys.modules["numpy"].frombuffer(data, "?" if what["dtype"] == "b1" else "<" + what["dtype"]).reshape(what["shape"])
            return tensor.Tensor(what["dtype"], what["shape"], data)
        if key == "$ref":
            return tensor.ObjectRef(*what)
        if key == "$actor":
            return tensor.ActorHandle(*what)
    return {key: value_of(one, arrays) for key, one in notation.items()}


def same(got, expected):
    if isinstance(expected, tensor.Tensor):
        if isinstance(got, tensor.Tensor):
            return got == expected
        kind = {"bf2": "u2", "b1": "b1"}.get(expected.dtype, expected.dtype)
        return got.dtype.kind + str(got.dtype.itemsize) == kind and got.shape == expected.shape and got.tobytes() == expected.tobytes()
    if isinstance(expected, (list, tuple)):
        return type(got) is list and len(got) == len(expected) and all(map(same, got, expected))
    if isinstance(expected, dict):
        return list(got) == list(expected) and all(same(got[key], expected[key]) for key in expected)
    if isinstance(expected, float):
        return type(got) is float and (math.isnan(got) if math.isnan(expected) else (got, math.copysign(1, got)) == (expected, math.copysign(1, expected)))
    return type(got) is type(expected) and got == expected


@pytest.mark.parametrize("entry", read("values.json"))
def test_values_are_read(entry, installed):
    parts = [bytes.fromhex(entry["hex"])] + [bytearray.fromhex(part) for part in entry["parts"]]
    assert same(wire.decode(parts), value_of(entry["value"]))


@pytest.mark.parametrize("entry", [entry for entry in read("values.json") if not entry.values[0].get("decodeOnly")])
def test_values_are_written(entry, installed):
    parts = wire.encode([value_of(entry["value"], arrays=installed[1])])
    assert [bytes(part).hex() for part in parts] == [entry["hex"]] + entry["parts"]


@pytest.mark.parametrize("entry", read("malformed.json"))
def test_malformed_values_are_refused(entry, installed):
    data = bytes.fromhex(entry["hex"])
    with pytest.raises(DecodeError) as caught:
        if entry["as"] == "control":
            wire.decode_map(data)
        else:
            wire.decode([data, bytearray(4)])
    assert caught.value.code == entry["code"]


@pytest.mark.parametrize("entry", read("malformed-frames.json"))
def test_malformed_frames_are_refused(entry):
    data, splitter = bytes.fromhex(entry["hex"]), Splitter()
    splitter.room()[: len(data)] = data
    splitter.received(len(data))
    with pytest.raises(ProtocolError) as caught:
        list(splitter.frames())
    assert caught.value.code == entry["code"]


@pytest.mark.parametrize("entry", read("prefixes.json"))
def test_prefixes(entry):
    value = entry["value"]
    fields = tuple(value[name] for name in ("length", "route", "kind", "flags", "headerLength", "sequence"))
    assert PREFIX.pack(*fields).hex() == entry["hex"] and PREFIX.unpack(bytes.fromhex(entry["hex"])) == fields


@pytest.mark.parametrize("entry", read("frames.json"))
def test_frames(entry, installed):
    data, splitter, value = bytes.fromhex(entry["hex"]), Splitter(), entry["value"]
    splitter.room()[: len(data)] = data
    splitter.received(len(data))
    (route, kind, flags, sequence, header, body), = splitter.frames()
    assert (route, kind, flags, sequence, body.hex()) == tuple(value[name] for name in ("route", "kind", "flags", "sequence", "body"))
    assert (wire.decode_map(bytes(header)) if len(header) else None) == value["header"]
    if "error" in value:
        assert wire.decode_map(bytes(body)) == value["error"]
    packed = wire.pack(value["header"]) if value["header"] is not None else b""
    assert frame(kind, route, packed, bytes(body), flags, sequence) == data


@pytest.mark.parametrize("entry", read("errors.json"))
def test_errors(entry, installed):
    data = bytes.fromhex(entry["hex"])
    assert wire.decode_map(data) == entry["value"] and wire.pack(entry["value"]) == data


def test_our_errors_have_no_key_that_the_vectors_do_not_know():
    known = {key for entry in read("errors.json") for key in entry.values[0]["value"]}
    try:
        raise ValueError("x") from KeyError("y")
    except ValueError as error:
        assert set(error_wire(error, {"pid": 1})) <= known | {"where"}


def test_our_hello_has_the_keys_of_the_vector():
    expected = next(entry.values[0]["value"]["header"] for entry in read("frames.json") if entry.values[0]["name"] == "HELLO")

    class Settings:
        address, incarnation, cluster = "node_a/engine_x", "inc_x", "cluster_c"

        def token(self):
            return "t"

    assert list(wire.decode_map(_hello(Settings())[20:])) == list(expected)
