"""Which thread reads the link: the main thread while it has nothing else to do, the I/O thread while user code runs.

A call that finds the main thread idle is read, run and answered by it alone, with no change of threads, which costs more than all the rest. The
I/O thread runs timers and writes what the socket did not take at once. As long as there are calls it looks up every few milliseconds, and
reads, too, when the main thread stays away.
"""

import os
import select
import threading
import time
from time import monotonic

from .limits import AWAKE_SECONDS, CLOSE_SECONDS, LEAD_TICK_SECONDS, LEAD_TICKS_IDLE

_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Lead:
    def __init__(self, link):
        self.link = link
        self.held = threading.Lock()  # by the thread that reads
        self.main_reads = False
        self.main_waits = False
        self.left_at = 0.0
        self.naps = False  # the I/O thread does not look up by itself

    # --- the main thread ---------------------------------------------------------------------------------------------------------

    def read_until(self, has_work, until=None):
        """Reads the link until `has_work()`, until it has ended, or until that time (`time.monotonic`)."""
        if not self.held.acquire(blocking=False):
            self.main_waits = True
            self.link.wake()
            self.held.acquire()
        self.main_reads, self.main_waits = True, False
        try:
            self.link.read_until(has_work, until)
        finally:
            self.left_at = time.monotonic()
            self.main_reads = False
            self.held.release()
            if self.naps:
                self.naps = False
                self.link.wake()

    def pass_by(self):
        """Between two calls: looks at the link now and then, so that a long row of short calls needs no other thread."""
        now = time.monotonic()
        if now - self.left_at < LEAD_TICK_SECONDS / 2:
            return
        if self.held.acquire(blocking=False):
            try:
                self.link.look()
            finally:
                self.held.release()
            self.left_at = time.monotonic()

    # --- the I/O thread ----------------------------------------------------------------------------------------------------------

    def watch(self):
        """Serves the link for as long as the process lives."""
        poller, quiet_ticks = Poller(self.link, self.link.wake_reader), 0
        while True:
            if self._main_is_away() and self.held.acquire(blocking=False):
                try:
                    while not self.main_waits:
                        self.link.serve(poller, True, None)
                finally:
                    self.held.release()
            quiet_ticks = quiet_ticks + 1 if self.main_reads or self.main_waits else 0
            self.naps = quiet_ticks > LEAD_TICKS_IDLE
            # It looks at `naps` after it has stopped reading: one of the two sees the other.
            self.link.serve(poller, False, None if self.naps and self.main_reads else LEAD_TICK_SECONDS * 1000)

    def _main_is_away(self):
        return not self.main_reads and not self.main_waits and time.monotonic() - self.left_at >= LEAD_TICK_SECONDS


class Poller:
    """One thread's poll on all sources of the link, and on its wake-up pipe where it has one."""

    def __init__(self, link, wake_reader):
        self.link, self.wake_reader = link, wake_reader
        self.poll = select.poll()
        if wake_reader is not None:
            self.poll.register(wake_reader, select.POLLIN)
        self.sources = {}  # by descriptor
        self.interest = {}
        self.changes = -1
        self.wanted = (False, False)
        self.close = False  # the last bytes came soon after the ones before

    def prepare(self, reads, blocked):
        """Before `wait`, with the link's turn. `blocked`: some socket takes no more for now."""
        if self.changes == self.link.changes and self.wanted == (reads, blocked) and not blocked:
            return
        self.changes, self.wanted = self.link.changes, (reads, blocked)
        sources = {source.descriptor: source for source in self.link.sources if not source.ended}
        for gone in [one for one in self.interest if one not in sources]:
            self.poll.unregister(gone)
            del self.interest[gone]
        for descriptor, source in sources.items():
            wanted = (select.POLLIN if reads else 0) | (select.POLLOUT if blocked and source.blocked else 0)
            if wanted and (wanted != self.interest.get(descriptor) or source is not self.sources.get(descriptor)):
                self.poll.register(descriptor, wanted)
                self.interest[descriptor] = wanted
            elif not wanted and self.interest.pop(descriptor, None) is not None:
                self.poll.unregister(descriptor)
        self.sources = sources

    def wait_awake(self, wait_ms):
        """As `wait`. While calls come close to each other it looks again and again for a moment before it sleeps: to be woken costs more than a call."""
        began = monotonic()
        if self.close:
            until = began + AWAKE_SECONDS
            while True:
                ready = self.wait(0)
                if ready:
                    return ready
                if monotonic() > until:
                    break
                os.sched_yield()  # to the caller, where it shares the processor
        ready = self.wait(wait_ms)
        self.close = _PROCESSORS > 1 and monotonic() - began < CLOSE_SECONDS
        return ready

    def wait(self, wait_ms):
        """The sources that have something to read."""
        ready = []
        for descriptor, event in self.poll.poll(wait_ms):
            if descriptor == self.wake_reader:
                os.read(descriptor, 65_536)
            elif event & ~select.POLLOUT and self.wanted[0]:
                ready.append(self.sources[descriptor])
        return ready
