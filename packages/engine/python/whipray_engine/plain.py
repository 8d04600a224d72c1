"""msgpack in the standard library alone: the same bytes and values as the C package, which `wire.py` prefers when it is there."""

import struct

from .errors import NotSerialisable
from .limits import MAX_DEPTH

_PUT_U16, _PUT_U32 = struct.Struct(">BH").pack, struct.Struct(">BI").pack
_PUT_F64, _PUT_I64, _PUT_U64 = struct.Struct(">Bd").pack, struct.Struct(">Bq").pack, struct.Struct(">BQ").pack
_PUT_I8, _PUT_I16, _PUT_I32 = struct.Struct(">Bb").pack, struct.Struct(">Bh").pack, struct.Struct(">Bi").pack


class _Unfit(Exception):
    """Why a value cannot be packed; gathers its path on the way out."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason
        self.path = []


def pack(value, extend=None, root="value"):
    """msgpack of nil, booleans, numbers, strings, bytes, lists, tuples and dicts with string keys.

    `extend(other)` gives (code, bytes) for anything else, or raises TypeError with the reason.
    Raises NotSerialisable with the path from `root`.
    """
    out = bytearray()
    try:
        _put(out, value, extend, 0)
    except _Unfit as unfit:
        raise NotSerialisable(root + "".join(reversed(unfit.path)), unfit.reason) from None
    return bytes(out)


def _put(out, value, extend, depth):
    if value is None:
        out.append(0xC0)
    elif value is True or value is False:
        out.append(0xC3 if value else 0xC2)
    elif isinstance(value, int):
        _put_int(out, value)
    elif isinstance(value, float):
        out += _PUT_F64(0xCB, value)
    elif isinstance(value, str):
        try:
            data = value.encode("utf-8")
        except UnicodeEncodeError:
            raise _Unfit("has a lone surrogate, which is no Unicode text") from None
        _put_length(out, len(data), 0xA0, 32, 0xD9)
        out += data
    elif isinstance(value, dict):
        _deeper(depth)
        _put_length(out, len(value), 0x80, 16, 0xDD)
        for key, one in value.items():
            if not isinstance(key, str):
                raise _Unfit("has the key %.80r, a %s: map keys must be strings" % (key, type(key).__name__))
            if key == "__proto__":
                raise _Unfit("has the key '__proto__', which JavaScript cannot take")
            try:
                _put(out, key, extend, depth + 1)
                _put(out, one, extend, depth + 1)
            except _Unfit as unfit:
                unfit.path.append(".%.80s" % key.encode("utf-8", "replace").decode())
                raise
    elif isinstance(value, (list, tuple)):
        _deeper(depth)
        _put_length(out, len(value), 0x90, 16, 0xDB)
        for index, one in enumerate(value):
            try:
                _put(out, one, extend, depth + 1)
            except _Unfit as unfit:
                unfit.path.append("[%d]" % index)
                raise
    else:
        _put_other(out, value, extend, depth)


def _put_other(out, value, extend, depth):
    try:
        other = extend(value) if extend else None
    except TypeError as error:
        raise _Unfit(str(error)) from None
    if isinstance(other, tuple):
        code, data = other
        _put_ext(out, code, data)
    elif extend is None and isinstance(value, (bytes, bytearray, memoryview)):
        _put_bin(out, bytes(value))
    elif isinstance(other, bytes):
        _put_bin(out, other)
    elif other is not None:
        _put(out, other, None, depth)
    else:
        raise _Unfit("is a %s, which is not serialisable" % type(value).__name__)


def _deeper(depth):
    if depth >= MAX_DEPTH:
        raise _Unfit("is nested deeper than %d, or contains itself" % MAX_DEPTH)


def _put_length(out, count, short, limit, wide):
    """`short`: type in the byte that holds the length; `wide`: first byte of the 8-bit form (arrays and maps have none)."""
    if count < limit:
        out.append(short | count)
    elif count < 256 and wide == 0xD9:
        out += bytes((wide, count))
    elif count < 65_536:
        out += _PUT_U16(wide + 1, count)
    elif count < 4_294_967_296:
        out += _PUT_U32(wide + 2, count)
    else:
        raise _Unfit("is longer than msgpack can say")


def _put_bin(out, data):
    count = len(data)
    out += bytes((0xC4, count)) if count < 256 else _PUT_U16(0xC5, count) if count < 65_536 else _PUT_U32(0xC6, count)
    out += data


def _put_ext(out, code, data):
    count = len(data)
    if count in (1, 2, 4, 8, 16):
        out.append(0xD4 + count.bit_length() - 1)
    else:
        out += bytes((0xC7, count)) if count < 256 else _PUT_U16(0xC8, count) if count < 65_536 else _PUT_U32(0xC9, count)
    out.append(code)
    out += data


def _put_int(out, value):
    if value >= 0:
        if value < 128:
            out.append(value)
        elif value < 256:
            out += bytes((0xCC, value))
        elif value < 65_536:
            out += _PUT_U16(0xCD, value)
        elif value < 4_294_967_296:
            out += _PUT_U32(0xCE, value)
        elif value < 1 << 64:
            out += _PUT_U64(0xCF, value)
        else:
            raise _Unfit("is an integer beyond 64 bit")
    elif value >= -32:
        out.append(256 + value)
    elif value >= -128:
        out += _PUT_I8(0xD0, value)
    elif value >= -32_768:
        out += _PUT_I16(0xD1, value)
    elif value >= -2_147_483_648:
        out += _PUT_I32(0xD2, value)
    elif value >= -(1 << 63):
        out += _PUT_I64(0xD3, value)
    else:
        raise _Unfit("is an integer beyond 64 bit")


_NUMBERS = {
    first: struct.Struct(">" + form)
    for first, form in zip(range(0xCA, 0xD4), ("f", "d", "B", "H", "I", "Q", "b", "h", "i", "q"))
}


_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def unpack(data, extension):
    """The value of bytes that `scan` has passed. `extension(code, bytes)` makes the values of extensions."""
    return _take(data, 0, extension)[0]


def unpack_unscanned(data, extension):
    """The value of bytes with few containers; raises any exception where `scan` may see something wrong."""
    value, end = _take(data, 0, extension)
    if end != len(data):
        raise ValueError("too short or too long")
    return value


def _take(data, at, extension):
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 256, at
    if first < 0x90:
        return _take_map(data, at, first & 15, extension)
    if first < 0xA0:
        return _take_array(data, at, first & 15, extension)
    if first < 0xC0:
        end = at + (first & 31)
        return str(data[at:end], "utf-8"), end
    if first <= 0xC3:
        return _CONSTANTS[first], at
    if 0xCA <= first <= 0xD3:
        number = _NUMBERS[first]
        return number.unpack_from(data, at)[0], at + number.size
    if 0xD4 <= first <= 0xD8:
        end = at + 1 + (1 << (first - 0xD4))
        return extension(data[at], bytes(data[at + 1 : end])), end
    width = 1 << ((first - 0xC4) % 3) if first < 0xCA else 1 << (first - 0xD9) if first < 0xDC else 2 << (first & 1)
    count = int.from_bytes(data[at : at + width], "big")
    at += width
    if first < 0xC7:
        return bytes(data[at : at + count]), at + count
    if first < 0xCA:
        return extension(data[at], bytes(data[at + 1 : at + 1 + count])), at + 1 + count
    if first < 0xDC:
        return str(data[at : at + count], "utf-8"), at + count
    if first < 0xDE:
        return _take_array(data, at, count, extension)
    return _take_map(data, at, count, extension)


def _take_array(data, at, count, extension):
    values = []
    for _ in range(count):
        value = data[at]
        if value < 0x80:
            at += 1
        else:
            value, at = _take(data, at, extension)
        values.append(value)
    return values, at


def _take_map(data, at, count, extension):
    values = {}
    for _ in range(count):
        first = data[at]
        if 0xA0 <= first < 0xC0:  # nearly all keys are short texts, and many values: without a call for each
            end = at + 1 + (first & 31)
            key, at = str(data[at + 1 : end], "utf-8"), end
        else:
            key, at = _take(data, at, extension)
        if type(key) is not str or key == "__proto__":
            raise ValueError("not a key")
        first = data[at]
        if 0xA0 <= first < 0xC0:
            end = at + 1 + (first & 31)
            values[key], at = str(data[at + 1 : end], "utf-8"), end
        elif first < 0x80:
            values[key] = first
            at += 1
        else:
            values[key], at = _take(data, at, extension)
    return values, at
