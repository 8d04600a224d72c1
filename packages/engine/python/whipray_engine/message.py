"""Outgoing messages, cut into frames as the credit of their route allows."""

from . import wire
from .frame import CHUNK, CHUNKED, ERROR, FROM_CALLEE, PREFIX
from .limits import BULK_RESERVE_BYTES, CHUNK_BYTES, INLINE_BYTES, PREFIX_BYTES

_LEAST_CHUNK = 16_384


class Message:
    """A reply, error, item or end on its way. `pull` gives one frame at a time; `done` after the last one.

    `last`: nothing more of this call follows.
    """

    __slots__ = ("kind", "sequence", "header", "parts", "left", "head", "last", "size", "index", "offset")

    def __init__(self, kind, sequence, header=None, parts=(), last=True):
        self.kind, self.sequence, self.last = kind, sequence, last
        self.parts = parts
        self.size = sum(map(len, parts))
        chunked = self.size > INLINE_BYTES and kind != ERROR
        if chunked or len(parts) > 1:
            header = dict(header or {}, p=[len(part) for part in parts])
        self.header = wire.pack(header) if header else b""
        self.left = self.size if chunked else 0  # bytes that go out in chunks
        self.head = True  # the first frame is still to come
        self.index = self.offset = 0

    @property
    def done(self):
        return not self.head and self.left == 0

    @property
    def idle(self):
        return False

    @property
    def in_bulk(self):
        """Whether it has begun and its chunks are not all out."""
        return not self.head and self.left > 0

    def pull(self, route, room, may_begin=True):
        """The next frame as a list of buffers with its size, or None when it does not fit into `room` bytes of credit.

        Without `may_begin` no message begins that needs chunks.
        """
        if self.head:
            if self.left and not may_begin:
                return None
            inline = 0 if self.left else self.size
            length = len(self.header) + inline
            if PREFIX_BYTES + length > room:
                return None
            self.head = False
            flags = CHUNKED if self.left else 0
            buffers = [PREFIX.pack(length, route, self.kind, flags, len(self.header), self.sequence) + self.header]
            if inline:
                buffers.extend(part for part in self.parts if len(part))
            return buffers, PREFIX_BYTES + length
        length = min(CHUNK_BYTES, self.left, room - BULK_RESERVE_BYTES - PREFIX_BYTES)
        if length < min(self.left, _LEAST_CHUNK):
            return None
        self.left -= length
        buffers = [PREFIX.pack(length, route, CHUNK, FROM_CALLEE, 0, self.sequence)]
        wanted = length
        while wanted:
            part = self.parts[self.index]
            piece = memoryview(part)[self.offset : self.offset + wanted]
            if len(piece):
                buffers.append(piece)
            wanted -= len(piece)
            self.offset += len(piece)
            if self.offset == len(part):
                self.index += 1
                self.offset = 0
        return buffers, PREFIX_BYTES + length
