"""Extensions of the wire: tensors (numpy arrays when numpy is there), references and actor handles."""

import sys
from math import prod

from .assembly import memory
from .errors import DecodeError
from .limits import INLINE_TENSOR_BYTES, MAX_PARTS

TENSOR, OBJECT_REF, ACTOR_HANDLE = 1, 2, 3
MAX_DIMENSIONS = 32
MAX_SAFE_INTEGER = 2**53 - 1

ITEM_BYTES = {
    **{"b1": 1, "i1": 1, "u1": 1, "i2": 2, "u2": 2, "i4": 4, "u4": 4, "i8": 8, "u8": 8},
    **{"f2": 2, "bf2": 2, "f4": 4, "f8": 8, "c8": 8, "c16": 16},
}
"""Bytes of one element of each dtype. `bf2` is bfloat16, which numpy does not have: it arrives as uint16 with the same bits."""

numpy = None
"""The numpy module once `find_numpy` has met it; until then, and where it is not installed, None."""
searched = False
"""Whether `find_numpy` has looked."""


class Tensor:
    """A tensor without numpy, or of a dtype that numpy lacks: `dtype` of the wire, `shape`, and `data`, little-endian in C order.

    Return `Tensor("bf2", shape, data)` to send bfloat16.
    """

    __slots__ = ("dtype", "shape", "data")

    def __init__(self, dtype, shape, data):
        if dtype not in ITEM_BYTES:
            raise ValueError("dtype %r is none of %s" % (dtype, " ".join(ITEM_BYTES)))
        shape, size = tuple(shape), memoryview(data).nbytes
        if prod(shape) * ITEM_BYTES[dtype] != size:
            raise ValueError("a tensor %s%r has %d bytes, not %d" % (dtype, list(shape), prod(shape) * ITEM_BYTES[dtype], size))
        self.dtype, self.shape, self.data = dtype, shape, data

    def tobytes(self):
        return bytes(self.data)

    def __eq__(self, other):
        same = isinstance(other, Tensor) and (self.dtype, self.shape) == (other.dtype, other.shape)
        return same and self.tobytes() == other.tobytes()

    __hash__ = None

    def __repr__(self):
        return "Tensor(%s, %r)" % (self.dtype, list(self.shape))


class _Fields:
    __slots__ = ("fields",)

    def __init__(self, *fields):
        self.fields = fields

    def __eq__(self, other):
        return type(self) is type(other) and self.fields == other.fields

    def __hash__(self):
        return hash((type(self), self.fields[0]))

    def __repr__(self):
        return "%s(%s)" % (type(self).__name__, ", ".join(map(repr, self.fields)))


class ObjectRef(_Fields):
    """A reference to an object of the cluster, carried through unchanged: (id, owner address, owner incarnation, size hint, location hint)."""

    __slots__ = ()


class ActorHandle(_Fields):
    """A handle of an actor, carried through unchanged: (actor id, owner address, loan or None)."""

    __slots__ = ()


FIELD_COUNT = {OBJECT_REF: (5, 3), ACTOR_HANDLE: (3, 2)}
"""Fields of an extension, and how many of them, the first ones, are strings."""


def find_numpy():
    """Imports numpy if it is installed. For the main thread: numpy reads its thread variables when it is imported."""
    global numpy, searched
    try:
        import numpy as found

        numpy = found
    except ImportError:
        numpy = None
    searched = True
    return numpy


def extension_from(code, fields, parts):
    """The value of an extension whose data was the array `fields`. `parts` are those of the message.

    Raises DecodeError DECODE_EXT.
    """
    if code != TENSOR:
        count, strings = FIELD_COUNT[code]
        if not isinstance(fields, list) or len(fields) != count or not all(isinstance(field, str) for field in fields[:strings]):
            raise DecodeError("DECODE_EXT", "extension %d must be an array of %d fields, %d strings first" % (code, count, strings))
        return (ObjectRef if code == OBJECT_REF else ActorHandle)(*fields)
    if not isinstance(fields, list) or len(fields) != 3:
        raise DecodeError("DECODE_EXT", "a tensor must be [dtype, shape, part or bytes]")
    dtype, shape, place = fields
    item = 1 if dtype == "bytes" else ITEM_BYTES.get(dtype) if isinstance(dtype, str) else None
    if item is None:
        raise DecodeError("DECODE_EXT", "tensor dtype %.40r is not known" % (dtype,))
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and 0 <= n <= MAX_SAFE_INTEGER for n in shape):
        raise DecodeError("DECODE_EXT", "a tensor's shape must be at most %d whole numbers" % MAX_DIMENSIONS)
    if type(place) is int and 1 <= place < len(parts):
        data = parts[place]
    elif isinstance(place, bytes) and len(place) <= INLINE_TENSOR_BYTES:
        data = bytearray(place)
    else:
        raise DecodeError("DECODE_EXT", "a tensor must name one of the %d parts, or hold at most %d bytes" % (len(parts) - 1, INLINE_TENSOR_BYTES))
    if prod(shape) * item != len(data):
        raise DecodeError("DECODE_EXT", "a tensor %s%r cannot have %d bytes" % (dtype, shape, len(data)))
    if dtype == "bytes":
        return bytes(data)
    if numpy is None:
        return Tensor(dtype, shape, data)
    kind = numpy.dtype("<u2" if dtype == "bf2" else "?" if dtype == "b1" else "<" + dtype)
    try:
        return (numpy.frombuffer(data, kind) if len(data) else numpy.empty(0, kind)).reshape(shape)
    except (ValueError, OverflowError) as error:  # an empty array of more than 2^63 rows
        raise DecodeError("DECODE_EXT", "numpy cannot make a tensor %s%r: %s" % (dtype, shape, error)) from None


class Sink:
    """Gathers the parts of a message while its part 0 is packed."""

    def __init__(self, pack):
        self.parts = [b""]
        self.borrowed = []  # indexes of parts that are the memory of live arrays
        self.pack = pack

    def extend(self, value):
        """(code, data) of the extension, or the plain value, that stands for `value`. Raises TypeError with the reason."""
        if isinstance(value, bytes):
            return self._place("bytes", [len(value)], value) if len(value) > INLINE_TENSOR_BYTES else value
        if isinstance(value, (bytearray, memoryview)):
            return self.extend(bytes(value))
        if isinstance(value, Tensor):
            return self._place(value.dtype, list(value.shape), bytes(value.data))
        if isinstance(value, ObjectRef):
            return OBJECT_REF, self.pack(list(value.fields))
        if isinstance(value, ActorHandle):
            return ACTOR_HANDLE, self.pack(list(value.fields))
        found = sys.modules.get("numpy")
        if found is not None and hasattr(found, "ndarray"):
            if isinstance(value, found.ndarray):
                return self._array(found, value)
            if isinstance(value, found.generic):
                plain = value.item()
                if isinstance(plain, (bool, int, float, str)):
                    return plain
                raise TypeError("is a %s, which the wire has no number for" % type(value).__name__)
        if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
            return self._torch(value)
        raise TypeError("is a %s, which is not serialisable" % type(value).__name__)

    def _array(self, np, array, dtype=None):
        kind = array.dtype.kind + str(array.dtype.itemsize)
        if kind not in ITEM_BYTES:
            raise TypeError("is an array of %s; the wire carries %s" % (array.dtype, " ".join(ITEM_BYTES)))
        if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and sys.byteorder == "big"):
            array = array.astype(array.dtype.newbyteorder("<"))
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        place = self._place(dtype or kind, list(array.shape), flat.data if flat.size > INLINE_TENSOR_BYTES else flat.tobytes())
        if flat.size > INLINE_TENSOR_BYTES:
            self.borrowed.append(len(self.parts) - 1)
        return place

    def _torch(self, value):
        """A torch tensor is copied to the CPU as it is; bfloat16 crosses by its bits. torch itself is never imported here."""
        plain = value.detach().cpu().contiguous()
        if str(plain.dtype) == "torch.bfloat16":
            return self._array(sys.modules["numpy"], plain.view(sys.modules["torch"].int16).numpy(), "bf2")
        return self.extend(plain.numpy())

    def _place(self, dtype, shape, data):
        if len(data) <= INLINE_TENSOR_BYTES:
            return TENSOR, self.pack([dtype, shape, data])
        if len(self.parts) >= MAX_PARTS:
            raise TypeError("is the %dth tensor: a message has at most %d parts" % (len(self.parts), MAX_PARTS))
        self.parts.append(data)
        return TENSOR, self.pack([dtype, shape, len(self.parts) - 1])

    def seal(self):
        """Copies the memory that somebody else still holds, so that user code may go on writing to it. Call it when the value is dropped."""
        for index in self._shared():
            copy = memory(len(self.parts[index]))
            copy[:] = self.parts[index]
            self.parts[index] = copy
        self.borrowed = []
        return self.parts

    def shared_bytes(self):
        """What `seal` would copy."""
        return sum(len(self.parts[index]) for index in self._shared())

    def _shared(self):
        return [index for index in self.borrowed if _holders(self.parts[index]) > _alone()]


def _holders(view):
    """References to the memory of an array, as far as Python knows; many when it belongs to something else."""
    owner = view.obj
    while owner.base is not None:
        owner = owner.base
        if type(owner).__module__.partition(".")[0] != "numpy" or not hasattr(owner, "base"):
            return 0 if isinstance(owner, bytes) else sys.maxsize
    return sys.getrefcount(owner)


_alone_count = []


def _alone():
    """What `_holders` says of an array that nobody else holds."""
    if not _alone_count:
        view = sys.modules["numpy"].zeros(1).reshape(-1).view("u1").data
        _alone_count.append(_holders(view))
    return _alone_count[0]
