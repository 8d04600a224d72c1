"""Buffers on their way into the socket, written many at a time."""

import os
from collections import deque
from itertools import islice

_BYTES = 1 << 20
_BUFFERS = 512


class Outbox:
    def __init__(self):
        self.buffers = deque()
        self.bytes = 0

    def __len__(self):
        return len(self.buffers)

    @property
    def has_room(self):
        return self.bytes < _BYTES and len(self.buffers) < _BUFFERS

    def add(self, data):
        self.buffers.append(data)
        self.bytes += len(data)

    def clear(self):
        self.buffers.clear()
        self.bytes = 0

    def write(self, descriptor):
        """One write; what did not fit stays. Raises BlockingIOError when the socket is full, OSError when it is broken."""
        if len(self.buffers) == 1:
            count = os.write(descriptor, self.buffers[0])
        else:
            count = os.writev(descriptor, list(islice(self.buffers, _BUFFERS)))
        self.bytes -= count
        if not self.bytes:
            self.buffers.clear()
            return
        while count:
            first = self.buffers[0]
            if len(first) <= count:
                count -= len(first)
                self.buffers.popleft()
            else:
                self.buffers[0] = memoryview(first)[count:]
                count = 0
