"""A stream of items between user code, which makes them, and the I/O thread, which sends them as the caller asks."""

import threading
from collections import deque

from .errors import HostError
from .frame import END, ERROR, ITEM
from .limits import STREAM_DEMAND
from .message import Message


class Stream:
    """Items under way. The producer may be `limit` bytes ahead of demand and credit; then `put` holds it.

    When the caller took nothing for `stall_ms` while it was held, `put` raises STREAM_STALLED.
    """

    def __init__(self, sequence, demand, limit, stall_ms, changed):
        self.sequence = sequence
        self.demand = max(demand, STREAM_DEMAND)
        self.limit, self.stall_ms = limit, stall_ms
        self.changed = changed  # tells the I/O thread that there is something to send
        self.progress = threading.Condition()
        self.on_progress = None
        self.items = deque()
        self.buffered = 0
        self.taken = 0
        self.count = 0
        self.aborted = None
        self.final = None
        self.current = None
        self.done = False

    # --- the producer's side -----------------------------------------------------------------------------------------------------

    def put(self, parts):
        """Adds one item; holds the thread while too much is buffered. Raises what aborted the stream, or STREAM_STALLED."""
        self._add(parts)
        with self.progress:
            while self.buffered > self.limit and self.aborted is None:
                if not self.progress.wait(self.stall_ms / 1000):
                    raise self._stalled()
        if self.aborted is not None:
            raise self.aborted

    async def put_async(self, parts):
        """As `put`, but only the calling task is held."""
        import asyncio

        self._add(parts)
        loop = asyncio.get_running_loop()
        while self.buffered > self.limit and self.aborted is None:
            moved = asyncio.Event()
            self.on_progress = lambda: loop.call_soon_threadsafe(moved.set)
            if self.buffered <= self.limit or self.aborted is not None:
                break
            try:
                await asyncio.wait_for(moved.wait(), self.stall_ms / 1000)
            except asyncio.TimeoutError:
                raise self._stalled() from None
        self.on_progress = None
        if self.aborted is not None:
            raise self.aborted

    def end(self, parts):
        """No more items; `parts` is the generator's return value, or empty."""
        self.final = Message(END, self.sequence, {"n": self.count}, parts)
        self.changed()

    def fail(self, body, drop):
        """The stream ends with an error, after what is buffered, or (`drop`) instead of it."""
        with self.progress:
            if drop:
                self.items.clear()
                self.buffered = 0
                if self.current is not None and not self.current.in_bulk:
                    self.current = None  # else its last chunks go out first: the caller has begun to put them together
            self.final = Message(ERROR, self.sequence, None, [body])
        self.changed()

    def _add(self, parts):
        with self.progress:
            if self.aborted is not None:
                raise self.aborted
            self.items.append(parts)
            self.count += 1
            self.buffered += sum(map(len, parts))
        self.changed()

    def _stalled(self):
        return HostError(
            "STREAM_STALLED",
            "the caller took no item for %d ms while %d bytes were buffered (limit %d); item %d was next"
            % (self.stall_ms, self.buffered, self.limit, self.taken),
            {"bufferedBytes": self.buffered, "limitBytes": self.limit, "stallMs": self.stall_ms, "nextItem": self.taken},
        )

    # --- the I/O thread's side ---------------------------------------------------------------------------------------------------

    @property
    def idle(self):
        """Whether only the producer or the caller's demand can bring the next frame."""
        return self.current is None and not (self.items and self.taken < self.demand) and not (self.final and not self.items)

    @property
    def in_bulk(self):
        return self.current is not None and self.current.in_bulk

    def pull(self, route, room, may_begin=True):
        """The next frame as (buffers, size), or None (see `Message.pull`)."""
        with self.progress:
            current = self.current = self.current or self._next()
        if current is None:
            return None
        frame = current.pull(route, room, may_begin)
        if current.done:
            self.done = current is self.final
            with self.progress:
                if self.current is current:
                    self.current = None
        return frame

    def abort(self, error):
        """The producer's next (or present) `put` raises `error`."""
        with self.progress:
            self.aborted = error
            self._moved()

    def _next(self):
        if self.items:
            if self.taken >= self.demand:
                return None
            parts = self.items.popleft()
            self.taken += 1
            self.buffered -= sum(map(len, parts))
            self._moved()
            return Message(ITEM, self.sequence, {"i": self.taken - 1}, parts, last=False)
        return self.final

    def _moved(self):
        self.progress.notify_all()
        if self.on_progress is not None:
            self.on_progress()
