"""Values to parts and back: the C package `msgpack` when it is there, else `plain.py`; the scanner judges in both cases."""

from . import plain, tensor
from .errors import DecodeError, HostError, NotSerialisable
from .limits import INLINE_TENSOR_BYTES, MAX_BODY_BYTES, MAX_DEPTH, MAX_MESSAGE_BYTES, SMALL_BYTES
from .scan import scan

_c = None


def load_c():
    """Uses the C package from now on, if it is installed. Not done at the start, which it would make a third slower."""
    global _c
    try:
        import msgpack
    except ImportError:
        return
    if msgpack.version >= (1, 0, 0) and hasattr(msgpack, "packb"):
        _c = msgpack


_SCALARS = frozenset((type(None), bool, int, float, str))
_CONSTANTS = {None: b"\xc0", False: b"\xc2", True: b"\xc3"}


def encode(box, root="result"):
    """The parts of the only value in the list `box`, which is emptied: the value must not be held by the caller.

    Arrays are sent from their own memory unless somebody else holds it too; then it is copied here.
    Raises NotSerialisable with the path, PAYLOAD_TOO_LARGE.
    """
    return gather(box, root).seal()


def brief(value):
    """The bytes of a value that has only one; None for all others."""
    kind = type(value)
    if kind is int:
        return bytes((value,)) if 0 <= value < 128 else None
    return _CONSTANTS[value] if value is None or kind is bool else None


def gather(box, root="result"):
    """As `encode`, but nothing is copied before `seal` of what it gives: until then its `parts` are the memory of live arrays."""
    sink = tensor.Sink(pack)
    value = box.pop()
    sink.parts[0] = _pack_value(value, sink, root)
    del value
    parts = sink.parts
    if len(parts[0]) > MAX_BODY_BYTES or sum(map(len, parts)) > MAX_MESSAGE_BYTES:
        raise HostError(
            "PAYLOAD_TOO_LARGE",
            "%s has %d bytes beside its tensors and %d in all; the limits are %d and %d: send large data as arrays"
            % (root, len(parts[0]), sum(map(len, parts)), MAX_BODY_BYTES, MAX_MESSAGE_BYTES),
        )
    return sink


def decode(parts, has_extensions=None):
    """The value of parts, part 0 being bytes. `has_extensions` is what `scan` said of part 0, if it was called. Raises DecodeError."""
    data = parts[0]

    def extension(code, fields):
        return tensor.extension_from(code, unpack(fields), parts)

    if has_extensions is None:
        has_extensions = scan(data)
    return _decode_scanned(data, extension if has_extensions else None)


def decode_small(data):
    """The value of plain data, or `UNSURE`: then `scan` must judge. A small message is decoded at once, not looked over first."""
    if len(data) > SMALL_BYTES or len(data) - len(data.translate(None, _CONTAINERS)) > MAX_DEPTH:
        return UNSURE
    try:
        if _c is None:
            return plain.unpack_unscanned(data, _no_extension)
        if any(head in data for head in _TIMESTAMPS):
            return UNSURE
        return _c.unpackb(data, raw=False, strict_map_key=True, object_hook=_checked, ext_hook=_no_extension)
    except Exception:  # whatever it is, `scan` names it
        return UNSURE


UNSURE = object()
_CONTAINERS = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))
"""First bytes of lists and maps: no value is nested deeper than it has of them."""
_TIMESTAMPS = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")
"""Extension -1, which the C package decodes without asking."""


def _checked(found):
    if "__proto__" in found or not all(type(key) is str for key in found):
        raise ValueError("not a key")
    return found


def decode_map(data):
    """A header or control body: strict keys, no extensions of meaning. Raises DecodeError, also when it is no map."""
    scan(data, strict=True)
    value = _decode_scanned(data, _no_extension)
    if not isinstance(value, dict):
        raise DecodeError("INVALID_MESSAGE", "a header must be a map")
    return value


def pack(value):
    """msgpack of plain values (nil, booleans, numbers, strings, bytes, lists, maps with string keys)."""
    return _c.packb(value) if _c else plain.pack(value)


def unpack(data):
    """Plain values of bytes that were scanned."""
    return _decode_scanned(data, _no_extension)


def _no_extension(code, _data):
    raise DecodeError("DECODE_EXT", "extension %d may not stand here" % code)


def _decode_scanned(data, extension):
    if _c is None:
        return plain.unpack(data, extension or _no_extension)
    size = len(data)
    return _c.unpackb(
        data,
        raw=False,
        strict_map_key=True,
        ext_hook=extension or _no_extension,
        max_str_len=size,
        max_bin_len=size,
        max_array_len=size,
        max_map_len=size,
        max_ext_len=size,
    )


def _pack_value(value, sink, root):
    if _c is not None and _fits(value, 0):
        try:
            return _c.packb(value, default=lambda other: _c_extension(sink, other))
        except (TypeError, ValueError, OverflowError, NotSerialisable):
            sink.parts[1:], sink.borrowed[:] = [], []  # once more in Python, which finds the path
    return plain.pack(value, sink.extend, root)


def _c_extension(sink, value):
    made = sink.extend(value)
    return _c.ExtType(*made) if isinstance(made, tuple) else made


def _fits(value, depth):
    """Whether the C package packs this as we want it: string keys, bounded depth, no bytes that belong into a part."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if isinstance(value, dict):
        if depth >= MAX_DEPTH or "__proto__" in value or not all(isinstance(key, str) for key in value):
            return False
        value = value.values()
    elif isinstance(value, (list, tuple)):
        if depth >= MAX_DEPTH:
            return False
    else:
        return not isinstance(value, (bytes, bytearray, memoryview)) or len(value) <= INLINE_TENSOR_BYTES
    return _SCALARS.issuperset(map(type, value)) or all(_fits(one, depth + 1) for one in value)
