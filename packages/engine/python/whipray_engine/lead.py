"""Which thread reads the link: the main thread while it has nothing else to do, the I/O thread while user code runs.

A call that finds the main thread idle is read, run and answered by it alone, with no change of threads, which costs more than all the rest. The
I/O thread runs timers and writes what the socket did not take at once. As long as there are calls it looks up every few milliseconds, and
reads, too, when the main thread stays away.
"""

import select
import threading
import time

from .limits import LEAD_TICK_SECONDS, LEAD_TICKS_IDLE


class Lead:
    def __init__(self, link):
        self.link = link
        self.held = threading.Lock()  # by the thread that reads
        self.main_reads = False
        self.main_waits = False
        self.left_at = 0.0
        self.naps = False  # the I/O thread does not look up by itself

    # --- the main thread ---------------------------------------------------------------------------------------------------------

    def read_until(self, has_work):
        """Reads the link until `has_work()`, or until it has ended."""
        if not self.held.acquire(blocking=False):
            self.main_waits = True
            self.link.wake()
            self.held.acquire()
        self.main_reads, self.main_waits = True, False
        try:
            self.link.read_until(has_work)
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
        poller, quiet_ticks = Poller(self.link), 0
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
    """The I/O thread's poll on the link's socket and its wake-up pipe."""

    def __init__(self, link):
        self.link = link
        self.poll = select.poll()
        self.poll.register(link.wake_reader, select.POLLIN)
        self.interest = 0

    def wait(self, reads, blocked, wait_ms):
        """[(descriptor, event)]; `blocked`: the socket takes no more for now."""
        sock = self.link.sock
        wanted = 0 if self.link.ended else (select.POLLIN if reads else 0) | (select.POLLOUT if blocked else 0)
        if wanted != self.interest:
            if wanted:
                self.poll.register(sock, wanted)
            else:
                self.poll.unregister(sock)
            self.interest = wanted
        return self.poll.poll(wait_ms)
