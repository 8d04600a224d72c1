"""The scanner: looks over msgpack before anything is decoded (PROTOCOL.md, "Values"). Iterative, builds nothing."""

from .errors import DecodeError
from .limits import MAX_BODY_BYTES, MAX_DEPTH

FORBIDDEN_KEYS = frozenset((b"__proto__", b"constructor", b"prototype"))
EXTENSIONS = frozenset((1, 2, 3))
EXTENSION_DEPTH = 2
"""Containers inside an extension: [dtype, [shape…], n] has two."""

_STR, _BIN, _ARRAY, _MAP, _EXT, _BAD = -1, -2, -3, -4, -5, -6


def _shapes():
    """For each first byte: (what, bytes of its length field, length when it is in the byte itself)."""
    table = [(0, 0, 0)] * 256
    table[0x80:0x90] = [(_MAP, 0, n) for n in range(16)]
    table[0x90:0xA0] = [(_ARRAY, 0, n) for n in range(16)]
    table[0xA0:0xC0] = [(_STR, 0, n) for n in range(32)]
    table[0xC1] = (_BAD, 0, 0)
    table[0xC4:0xC7] = [(_BIN, n, 0) for n in (1, 2, 4)]
    table[0xC7:0xCA] = [(_EXT, n, 0) for n in (1, 2, 4)]
    table[0xCA:0xD4] = [(n, 0, 0) for n in (4, 8, 1, 2, 4, 8, 1, 2, 4, 8)]
    table[0xD4:0xD9] = [(_EXT, 0, n) for n in (1, 2, 4, 8, 16)]
    table[0xD9:0xDC] = [(_STR, n, 0) for n in (1, 2, 4)]
    table[0xDC:0xDE] = [(_ARRAY, n, 0) for n in (2, 4)]
    table[0xDE:0xE0] = [(_MAP, n, 0) for n in (2, 4)]
    return tuple(table)


_SHAPES = _shapes()
_RUN = 512
_runs = []


def _run_of_scalars(data, at):
    """The end of the next `_RUN` numbers, booleans and nils, or 0: long lists of numbers are passed at the speed of C."""
    if not _runs:
        import re

        one = rb"[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1]..|[\xca\xce\xd2].{4}|[\xcb\xcf\xd3].{8}"
        _runs.append(re.compile(rb"(?:%s){%d}" % (one, _RUN), re.DOTALL))
    match = _runs[0].match(data, at)
    return match.end() if match else 0


def scan(data, strict=False, depth_limit=MAX_DEPTH):
    """Checks one value and returns whether it has extensions. `data` is bytes or bytearray.

    Map keys must be strings and never `__proto__`; with `strict` (headers, control bodies) also not repeated, and neither
    `constructor` nor `prototype`. `depth_limit` is lower for the data of an extension, which has no extensions itself.
    Raises DecodeError: DECODE_LENGTH, DECODE_DEPTH, DECODE_UTF8, DECODE_EXT, DECODE_BYTE, DECODE_KEY, DECODE_TRAILING.
    """
    at, end = 0, len(data)
    if end > MAX_BODY_BYTES:
        raise DecodeError("DECODE_LENGTH", "%d bytes of msgpack; the limit is %d" % (end, MAX_BODY_BYTES))
    remaining, seen = 1, None  # values still to come in this container; the keys of this map, None in an array
    stack = []
    extensions = False
    while True:
        if at >= end:
            raise DecodeError("DECODE_LENGTH", "the value ends too early: byte %d is missing" % at)
        first = data[at]
        what, field, length = _SHAPES[first]
        is_key = seen is not None and remaining & 1 == 0
        at += 1
        if what >= 0:
            at += what
            if is_key:
                raise DecodeError("DECODE_KEY", "map key at byte %d is no string" % (at - 1 - what))
        elif what == _BAD:
            raise DecodeError("DECODE_BYTE", "byte 0xc1 at %d means nothing in msgpack" % (at - 1))
        else:
            if field:
                if at + field > end:
                    raise DecodeError("DECODE_LENGTH", "the value ends inside a length at byte %d" % at)
                length = int.from_bytes(data[at : at + field], "big")
                at += field
            if is_key and what != _STR:
                raise DecodeError("DECODE_KEY", "map key before byte %d is no string" % at)
            if what == _ARRAY or what == _MAP:
                if what == _MAP:
                    length *= 2
                if length > end - at:
                    raise DecodeError("DECODE_LENGTH", "%d values announced before byte %d, %d bytes are left" % (length, at, end - at))
                if len(stack) >= depth_limit:
                    raise DecodeError("DECODE_DEPTH", "containers are nested deeper than %d" % depth_limit)
                stack.append((remaining, seen))
                remaining, seen = length + 1, None if what == _ARRAY else set()
                if what == _ARRAY:
                    while remaining > _RUN:
                        run = _run_of_scalars(data, at)
                        if not run:
                            break
                        at = run
                        remaining -= _RUN
            else:
                if what == _EXT:
                    length += 1
                if length > end - at:
                    raise DecodeError("DECODE_LENGTH", "%d bytes announced before byte %d, %d are left" % (length, at, end - at))
                if what == _STR:
                    _check_text(data, at, length, is_key, seen if strict else None)
                elif what == _EXT:
                    extensions = True
                    if data[at] not in EXTENSIONS or depth_limit != MAX_DEPTH:
                        raise DecodeError("DECODE_EXT", "extension %d at byte %d is none of ours here" % (data[at], at))
                    scan(data[at + 1 : at + length], strict, EXTENSION_DEPTH)
                at += length
        remaining -= 1
        while remaining == 0 and stack:
            remaining, seen = stack.pop()
            remaining -= 1
        if not stack and remaining == 0:
            break
    if at > end:
        raise DecodeError("DECODE_LENGTH", "the value ends too early: %d bytes are missing" % (at - end))
    if at < end:
        raise DecodeError("DECODE_TRAILING", "%d bytes after the end of the value" % (end - at))
    return extensions


def _check_text(data, at, length, is_key, keys):
    text = bytes(data[at : at + length])
    if not text.isascii():
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            raise DecodeError("DECODE_UTF8", "the string at byte %d is not valid UTF-8" % at) from None
    if not is_key:
        return
    if text == b"__proto__" or (keys is not None and text in FORBIDDEN_KEYS):
        raise DecodeError("DECODE_KEY", "map key %r is refused" % text.decode())
    if keys is not None:
        if text in keys:
            raise DecodeError("DECODE_KEY", "map key %.80r is there twice" % text.decode("utf-8", "replace"))
        keys.add(text)
