"""Frames: the prefix of 20 bytes, its kinds and flags, and the splitter that finds frames in a stream of bytes."""

import struct

from .errors import ProtocolError
from .limits import MAX_FRAME_BYTES, PREFIX_BYTES

PREFIX = struct.Struct("<IIBBHQ")
U32 = struct.Struct("<I")
_OTHER_PROTOCOLS = (b"GET ", b"HEAD", b"POST", b"HTTP", b"SSH-", b"\x16\x03\x01", b"\x16\x03\x03")

HELLO, WELCOME, REFUSE, PING, PONG, GOODBYE = 1, 2, 3, 4, 5, 6
OPEN, OPENED, CLOSE = 8, 9, 10
REQUEST, ONEWAY, CANCEL, REPLY, ERROR, ITEM, END, CHUNK, CREDIT, DEMAND, ACK = range(16, 27)

CHUNKED, FROM_CALLEE, STREAM = 1, 2, 4

USES_CREDIT = frozenset((REQUEST, ONEWAY, REPLY, ERROR, ITEM, END, CHUNK))
"""Kinds whose bytes, prefix included, use the credit of their route."""


def frame(kind, route=0, header=b"", body=b"", flags=0, sequence=0):
    """One whole frame as bytes; for small ones."""
    return PREFIX.pack(len(header) + len(body), route, kind, flags, len(header), sequence) + header + body


class Splitter:
    """Cuts received bytes into frames. Receive into `room()`, say how many with `received()`, then take `frames()`.

    Views that it gives are only valid until the next `room()`.
    """

    def __init__(self, capacity=1 << 20):
        self.buffer = bytearray(max(capacity, PREFIX_BYTES + MAX_FRAME_BYTES))
        self.view = memoryview(self.buffer)
        self.start = self.end = 0
        self.first = True

    def room(self):
        if self.start == self.end:
            self.start = self.end = 0
        elif self.end == len(self.buffer):
            rest = self.buffer[self.start : self.end]
            self.buffer[: len(rest)] = rest
            self.start, self.end = 0, len(rest)
        return self.view[self.end :]

    def received(self, count):
        self.end += count

    @property
    def partial(self):
        """Whether a frame has begun and is not complete."""
        return self.start != self.end

    def frames(self):
        """Yields (route, kind, flags, sequence, header, body) for each whole frame.

        Raises ProtocolError FRAME_SIZE as soon as a prefix says something impossible, before its bytes are there; WRONG_PROTOCOL
        when the stream begins like HTTP, TLS or SSH.
        """
        view = self.view
        while self.end - self.start >= U32.size:
            if self.first:
                if bytes(view[self.start : self.start + 4]).startswith(_OTHER_PROTOCOLS):
                    raise ProtocolError("WRONG_PROTOCOL", "the other side does not speak Whipray: %r" % bytes(view[self.start : self.start + 4]))
                self.first = False
            (length,) = U32.unpack_from(view, self.start)
            if length > MAX_FRAME_BYTES:
                raise ProtocolError("FRAME_SIZE", "a frame of %d bytes; the limit is %d" % (length, MAX_FRAME_BYTES))
            if self.end - self.start < PREFIX_BYTES:
                return
            _, route, kind, flags, header_length, sequence = PREFIX.unpack_from(view, self.start)
            if header_length > length:
                raise ProtocolError("FRAME_SIZE", "a header of %d bytes in a frame of %d" % (header_length, length))
            body = self.start + PREFIX_BYTES + header_length
            end = self.start + PREFIX_BYTES + length
            if end > self.end:
                return
            header = view[self.start + PREFIX_BYTES : body]
            self.start = end
            yield route, kind, flags, sequence, header, view[body:end]
