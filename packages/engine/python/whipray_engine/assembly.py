"""Puts the parts of one incoming message together."""

from .errors import ProtocolError
from .limits import MAX_BODY_BYTES, MAX_MESSAGE_BYTES, MAX_PARTS

_MAPPED_BYTES = 262_144
_HUGE_BYTES = 4_194_304


class Assembly:
    """The parts of a message while their bytes arrive. `parts` is complete when `missing` is 0; part 0 is then bytes."""

    def __init__(self, lengths, keep=True):
        self.lengths = lengths
        self.missing = sum(lengths)
        self.parts = [memory(length) for length in lengths] if keep else None
        self.index = -1
        self.room = memoryview(b"")  # what is left of the part that is being filled

    def feed(self, data):
        """Takes the next bytes, a memoryview. Raises ProtocolError when they are more than announced."""
        if len(data) > self.missing:
            raise ProtocolError("FRAME_SIZE", "a message has %d bytes more than its header announced" % (len(data) - self.missing))
        self.missing -= len(data)
        if self.parts is None:
            return
        while len(data):
            if not len(self.room):
                self.index += 1
                self.room = memoryview(self.parts[self.index])
                continue
            count = min(len(data), len(self.room))
            self.room[:count] = data[:count]
            self.room, data = self.room[count:], data[count:]

    def drop(self):
        """Forgets the bytes; those still to come are counted and thrown away."""
        self.parts = self.room = None

    def take(self):
        """The complete parts; call it once."""
        parts = self.parts
        self.drop()
        parts[0] = bytes(parts[0])
        return parts


class Whole:
    """A message of one part that came in one frame."""

    missing = 0

    def __init__(self, data):
        self.data = data

    def drop(self):
        self.data = None

    def take(self):
        return [self.data]


def memory(length):
    """Writable bytes. Large ones are mapped, so that pages are only used once bytes have really arrived."""
    if length < _MAPPED_BYTES:
        return bytearray(length)
    import mmap

    mapped = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if length >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            mapped.madvise(mmap.MADV_HUGEPAGE)  # as numpy does: first writes to small pages take three times as long
        except OSError:
            pass  # a kernel without them
    return mapped


def part_lengths(header, chunked, body_length):
    """Checks `p` of a message's header and returns the lengths of its parts. Raises ProtocolError."""
    lengths = header.get("p")
    if lengths is None and not chunked:
        return [body_length]
    if not isinstance(lengths, list) or not 1 <= len(lengths) <= MAX_PARTS or not all(type(n) is int and n >= 0 for n in lengths):
        raise ProtocolError("INVALID_MESSAGE", "`p` must be a list of 1 to %d whole numbers" % MAX_PARTS)
    if chunked and body_length:
        raise ProtocolError("INVALID_MESSAGE", "a chunked message has %d bytes in its own frame" % body_length)
    if not chunked and sum(lengths) != body_length:
        raise ProtocolError("INVALID_MESSAGE", "`p` announces %d bytes, the frame has %d" % (sum(lengths), body_length))
    return lengths


def too_large(lengths):
    """Why a message of these parts is refused, or None."""
    if lengths[0] > MAX_BODY_BYTES:
        return "part 0 has %d bytes; the limit is %d: send large data as arrays" % (lengths[0], MAX_BODY_BYTES)
    if sum(lengths) > MAX_MESSAGE_BYTES:
        return "the message has %d bytes; the limit is %d" % (sum(lengths), MAX_MESSAGE_BYTES)
    return None
