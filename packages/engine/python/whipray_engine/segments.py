"""Objects of the node's store: shared memory of other processes, mapped here (`@whipray/objects`, layout.ts)."""

import fcntl
import mmap
import os
import struct
import weakref

from . import wire
from .errors import DecodeError, HostError
from .limits import MAX_PARTS
from .scan import scan

F_GET_SEALS, F_SEAL_SHRINK = 1034, 2
MAGIC = 0x314F5257
HEAD = struct.Struct("<II")
ALIGNMENT = 64
STORED = 4
"""Extension code of a message whose parts lie in the store."""


class Mapping(mmap.mmap):
    """The memory of one object. Arrays made from its parts keep it; it is unmapped when the last of them is gone."""


def attach(pid, fd, name, segment_bytes, object_bytes, released=None):
    """Maps an object: descriptor `fd` of process `pid`, a sealed segment of this name and size. Gives its parts as memoryviews.

    Nothing is copied. What is written to them stays in this process: the kernel copies the page then, and the object does not change.
    `released` is called, on any thread, when nothing of it can be reached any more.
    Raises HostError SEGMENT_LOST (it is not there, is another file, or could be truncated under us) and OBJECT_CORRUPT.
    """
    own = _open(pid, fd, name, segment_bytes, os.O_RDONLY)
    try:
        if object_bytes > segment_bytes:
            raise _lost(name, pid, "it has less than the %d bytes of the object" % object_bytes)
        mapping = Mapping(own, object_bytes, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise _lost(name, pid, str(error)) from None
    finally:
        os.close(own)
    if released is not None:
        weakref.finalize(mapping, released).atexit = False
    return parts_of(memoryview(mapping))


def map_for_writing(pid, fd, name, segment_bytes):
    """The whole segment, shared. Raises HostError SEGMENT_LOST."""
    own = _open(pid, fd, name, segment_bytes, os.O_RDWR)
    try:
        return mmap.mmap(own, segment_bytes)
    except OSError as error:
        raise _lost(name, pid, str(error)) from None
    finally:
        os.close(own)


def _open(pid, fd, name, segment_bytes, access):
    """A descriptor of the segment, checked: no other file is taken for one, and no truncation can end this process with SIGBUS."""
    try:
        own = os.open("/proc/%d/fd/%d" % (pid, fd), access | os.O_CLOEXEC)
    except OSError as error:
        raise _lost(name, pid, "it cannot be opened: %s" % error) from None
    try:
        target = os.readlink("/proc/self/fd/%d" % own)
        if target != "/memfd:%s (deleted)" % name:
            raise _lost(name, pid, "its descriptor is %.100s" % target)
        size = os.fstat(own).st_size
        if size != segment_bytes:
            raise _lost(name, pid, "it has %d bytes instead of %d" % (size, segment_bytes))
        if not fcntl.fcntl(own, F_GET_SEALS) & F_SEAL_SHRINK:
            raise _lost(name, pid, "it is not sealed: it could be truncated under us")
    except BaseException as error:
        os.close(own)
        raise _lost(name, pid, str(error)) from None if isinstance(error, OSError) else error
    return own


class Attached:
    """The objects that this process has mapped, for the worker that holds them for us."""

    def __init__(self):
        self._mapped = {}  # a token of each mapping → its object; dict operations are atomic, finalizers run anywhere

    def resolve(self, parts):
        """The parts of a message, mapped when they lie in the store. Raises HostError, DecodeError."""
        fields = stored_fields(parts)
        return parts if fields is None else self.map(fields)

    def map(self, fields):
        """The parts of the object that these fields of a stored message name. Raises HostError, DecodeError."""
        if not isinstance(fields, list) or len(fields) != 9:
            raise DecodeError("DECODE_EXT", "a stored message for an engine must say in which segment it lies")
        object_id, _, _, size, _, pid, fd, name, segment_bytes = fields
        if not all(type(number) is int and number >= 0 for number in (size, pid, fd, segment_bytes)) or not isinstance(name, str):
            raise DecodeError("DECODE_EXT", "a stored message must have whole numbers and a name")
        token = object()
        self._mapped[token] = object_id
        try:
            mapped = attach(pid, fd, name, segment_bytes, size, lambda: self._mapped.pop(token, None))
        except BaseException:
            self._mapped.pop(token, None)
            raise
        return [bytes(mapped[0]), *mapped[1:]]

    def held(self, ids):
        """Those of the objects of which something can still be reached."""
        mapped = set(self._mapped.values())
        return [one for one in ids if one in mapped] if isinstance(ids, list) else []


STORED_HEADS = (b"\xc7", b"\xc8")
"""What messages that stand for an object begin with."""


def stored_fields(parts):
    """The fields of a message that stands for an object, or None. Raises DecodeError."""
    data = parts[0]
    if len(parts) != 1 or data[:1] not in STORED_HEADS:
        return None
    head = 3 if data[:1] == b"\xc7" else 4 if data[:1] == b"\xc8" else 0
    if not head or len(data) < head or data[head - 1] != STORED:
        return None
    body = bytes(data[head:])
    scan(body, strict=True)
    fields = wire.unpack(body)
    return fields if isinstance(fields, list) else []


def layout_bytes(parts):
    """Bytes that an object of these parts takes."""
    end = HEAD.size + 8 * len(parts)
    for part in parts:
        end = -(-end // ALIGNMENT) * ALIGNMENT + len(part)
    return end


def write_layout(memory, parts):
    """Copies the parts into `memory`."""
    end = HEAD.size + 8 * len(parts)
    memory[:end] = HEAD.pack(MAGIC, len(parts)) + struct.pack("<%dQ" % len(parts), *map(len, parts))
    for part in parts:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + len(part)
        memory[start:end] = part


def parts_of(memory):
    """The parts of an object that takes all of `memory`. Raises HostError OBJECT_CORRUPT: what others wrote is not trusted."""
    total = len(memory)
    if total < HEAD.size:
        raise _corrupt("it has %d bytes" % total)
    magic, count = HEAD.unpack_from(memory)
    end = HEAD.size + 8 * count
    if magic != MAGIC or count > MAX_PARTS or end > total:
        raise _corrupt("its head is none")
    parts = []
    for length in struct.unpack_from("<%dQ" % count, memory, HEAD.size):
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + length
        if end > total:
            raise _corrupt("part %d ends at %d of %d bytes" % (len(parts), end, total))
        parts.append(memory[start:end])
    if end != total:
        raise _corrupt("its parts end at %d of %d bytes" % (end, total))
    return parts


def _lost(name, pid, why):
    return HostError("SEGMENT_LOST", "segment %.100s of process %d cannot be mapped: %s" % (name, pid, why))


def _corrupt(why):
    return HostError("OBJECT_CORRUPT", "the memory does not hold an object: " + why)
