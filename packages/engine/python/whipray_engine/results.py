"""Large results that wait here until the worker has made room for them in the node's store."""

import itertools
import threading
from collections import OrderedDict

from . import wire
from .errors import HostError
from .limits import KEPT_RESULTS_LIMIT, WRITER_MAPPINGS_LIMIT
from .segments import STORED, layout_bytes, map_for_writing, write_layout


_NOTHING = (None, None)


class Parts:
    """A reply that is made of these parts."""

    __slots__ = ("parts",)

    def __init__(self, parts):
        self.parts = parts


class Results:
    def __init__(self):
        self._kept = OrderedDict()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # kept by the main thread, fetched by the I/O thread
        self._mapped = OrderedDict()  # segments by name, least recently used first; of the I/O thread

    def keep(self, sink, line):
        """Keeps a result for who called over `line`. Its token, and the parts of the reply that says so."""
        token = "result-%d" % next(self._numbers)
        with self._lock:
            self._kept[token] = sink, line
            while len(self._kept) > KEPT_RESULTS_LIMIT:
                self._kept.popitem(last=False)
        body = wire.pack([token, "", "", layout_bytes(sink.parts), "engine"])
        return token, [bytes((0xC7, len(body), STORED)) + body]

    def waits(self, token):
        """Whether it has not been written or sent."""
        return token in self._kept

    def seal(self, token):
        """The memory that it lies in may be written to from now on. With the link's turn: nobody writes or sends it now."""
        sink, _ = self._kept.get(token, _NOTHING)
        if sink is not None:
            sink.seal()

    def drop(self, token):
        with self._lock:
            self._kept.pop(token, None)

    def store(self, token, segment):
        """Writes a result into a segment. It stays here when that fails, to be sent. Raises HostError."""
        with self._lock:
            sink, _ = self._kept.get(token, _NOTHING)
        if sink is None:
            raise _gone(token)
        parts = sink.parts
        place = [segment.get(key) for key in ("pid", "fd", "name", "bytes")] if isinstance(segment, dict) else []
        if len(place) != 4 or not isinstance(place[2], str) or not all(type(place[i]) is int for i in (0, 1, 3)):
            raise HostError("INVALID_ARGUMENT", "`segment` must be {pid, fd, name, bytes}")
        if layout_bytes(parts) > place[3]:
            raise HostError("RANGE", "the result needs %d bytes; the segment has %d" % (layout_bytes(parts), place[3]))
        write_layout(self._memory(*place), parts)
        with self._lock:
            self._kept.pop(token, None)

    def send(self, token):
        """Its parts, for the reply itself, which takes its time: what is still the memory of live arrays is copied. Raises HostError."""
        with self._lock:
            sink, _ = self._kept.pop(token, _NOTHING)
        if sink is None:
            raise _gone(token)
        return Parts(sink.seal())

    def forget(self, line):
        """Nobody comes for what was kept for callers of this line."""
        with self._lock:
            for token in [token for token, (_, one) in self._kept.items() if one is line]:
                del self._kept[token]

    def _memory(self, pid, fd, name, size):
        memory = self._mapped.pop(name, None)
        if memory is None:
            memory = map_for_writing(pid, fd, name, size)
        self._mapped[name] = memory
        if len(self._mapped) > WRITER_MAPPINGS_LIMIT:
            self._mapped.popitem(last=False)[1].close()
        return memory


def _gone(token):
    return HostError("NOT_FOUND", "there is no result %.40r here (any more); %d wait at most" % (token, KEPT_RESULTS_LIMIT))
