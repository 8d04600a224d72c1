"""numpy arrays on the wire: without a copy where nobody else holds them, and with one where somebody does."""

import sys
import types

import pytest
from host_worker import wire

from whipray_engine import tensor
from whipray_engine.errors import NotSerialisable

np = pytest.importorskip("numpy")
msgpack = pytest.importorskip("msgpack")


@pytest.fixture(params=["C", "plain"], autouse=True)
def codec(request, monkeypatch):
    monkeypatch.setattr(wire, "_c", msgpack if request.param == "C" else None)
    tensor.find_numpy()


def borrowed(parts):
    return [isinstance(part, memoryview) for part in parts[1:]]


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (40, 50, 3), (0, 5)])
def test_every_dtype_and_shape_comes_back(dtype, shape):
    array = np.asarray(np.arange(int(np.prod(shape))).reshape(shape) % 2, dtype=dtype)
    parts = wire.encode([{"a": array}])
    back = wire.decode([parts[0]] + [bytearray(part) for part in parts[1:]])["a"]
    assert back.dtype == array.dtype and back.shape == array.shape and (back == array).all()
    assert back.flags.writeable


def test_wire_form_of_a_tensor_is_little_endian_c_order():
    array = np.array([[1, 2], [3, 4]], dtype=">i2").T
    assert wire.encode([array]) == [msgpack.packb(msgpack.ExtType(1, msgpack.packb(["i2", [2, 2], bytes([1, 0, 3, 0, 2, 0, 4, 0])])))]


def test_arrays_that_nobody_holds_are_sent_from_their_own_memory():
    def fresh():
        return {"a": np.zeros(5000), "b": [np.ones((100, 100), "f4"), np.arange(9000).reshape(90, 100)], "c": np.zeros((200, 200)).T}

    assert borrowed(wire.encode([fresh()])) == [True, True, True, True]


def test_arrays_that_somebody_holds_are_copied():
    class Model:
        weights = np.zeros(5000)
        parts = {"w": np.zeros((50, 100))}

    model = Model()
    base = np.zeros(5000)
    for value in (model.weights, {"w": model.weights}, model.parts, [base[10:4500]], model.weights.reshape(50, 100), np.frombuffer(bytearray(40000))):
        parts = wire.encode([value])
        assert borrowed(parts) == [False] * (len(parts) - 1) and len(parts) == 2
    parts = wire.encode([model.parts])
    model.parts["w"][:] = 7
    assert not any(parts[1])


def test_a_received_array_is_the_memory_that_it_arrived_in():
    data = bytearray(np.arange(5000, dtype="f4").tobytes())
    array = wire.decode([msgpack.packb(msgpack.ExtType(1, msgpack.packb(["f4", [50, 100], 1]))), data])
    array[0, 0] = 123
    assert np.frombuffer(data, "f4")[0] == 123


def test_bfloat16_arrives_as_its_bits_and_leaves_as_a_tensor():
    bits = np.array([0x3F80, 0x4000], dtype="u2")
    parts = wire.encode([tensor.Tensor("bf2", [2], bits.tobytes())])
    back = wire.decode(parts)
    assert back.dtype == np.uint16 and (back == bits).all()


def test_numpy_numbers_are_numbers():
    value = {"f": np.float32(0.5), "d": np.float64(0.25), "i": np.int64(-3), "u": np.uint64(2**64 - 1), "b": np.bool_(True), "s": np.str_("x")}
    assert wire.decode(wire.encode([value])) == {"f": 0.5, "d": 0.25, "i": -3, "u": 2**64 - 1, "b": True, "s": "x"}


@pytest.mark.parametrize("bad", [np.array(["a"]), np.array([None]), np.zeros(2, "M8[s]"), np.zeros(2, "i4,f4"), np.complex64(1), np.datetime64(0, "s"), np.longdouble(1)])
def test_arrays_and_numbers_without_a_wire_dtype_are_named(bad):
    with pytest.raises(NotSerialisable, match=r"result\.x\[0\]"):
        wire.encode([{"x": [bad]}])


def test_a_message_has_at_most_4096_parts():
    with pytest.raises(NotSerialisable, match="at most 4096 parts"):
        wire.encode([[np.zeros(4097, "u1") for _ in range(4096)]])


def test_torch_tensors_cross_as_arrays_and_bfloat16_by_its_bits(monkeypatch):
    """A stand-in with torch's methods: torch itself is not installed here."""

    class FakeTensor:
        __module__ = "torch"

        def __init__(self, array, dtype):
            self.array, self.dtype = array, dtype

        def detach(self):
            return self

        cpu = contiguous = detach

        def numpy(self):
            if self.dtype == "torch.bfloat16":
                raise TypeError("Got unsupported ScalarType BFloat16")
            return self.array

        def view(self, dtype):
            return FakeTensor(self.array.view("i2"), dtype)

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(int16="torch.int16"))
    plain = wire.decode(wire.encode([FakeTensor(np.arange(3, dtype="f4"), "torch.float32")]))
    assert plain.dtype == np.float32 and list(plain) == [0, 1, 2]
    parts = wire.encode([FakeTensor(np.array([0x3F80], "u2"), "torch.bfloat16")])
    assert b"bf2" in parts[0] and list(wire.decode(parts)) == [0x3F80]
