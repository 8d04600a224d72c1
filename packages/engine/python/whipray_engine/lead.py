"""Which thread serves the link: the main thread while it has nothing else to do, the I/O thread while user code runs.

A call that finds the main thread idle is read, run and answered by it alone, with no change of threads, which costs more than all the
rest. The I/O thread only looks up every few milliseconds as long as there are calls, and takes over when the main thread stays away.
"""

import select
import threading
import time

from .limits import LEAD_TICK_SECONDS, LEAD_TICKS_IDLE


class Lead:
    def __init__(self, link):
        self.link = link
        self.held = threading.Lock()  # by the thread that serves
        self.needed = threading.Event()  # cleared while the I/O thread sleeps until it may be needed
        self.needed.set()
        self.main_serves = False
        self.main_waits = False
        self.left_at = 0.0
        self.main_poller = Poller(link)

    # --- the main thread ---------------------------------------------------------------------------------------------------------

    def serve_until(self, has_work):
        """Serves the link until `has_work()`."""
        self.main_waits = True
        self.link.wake()  # the I/O thread, when it serves
        self.held.acquire()
        self.main_serves, self.main_waits = True, False
        try:
            self.link.serve(self.main_poller, has_work)
        finally:
            self.left_at = time.monotonic()
            self.main_serves = False
            self.held.release()
            if not self.needed.is_set():
                self.needed.set()

    # --- the I/O thread ----------------------------------------------------------------------------------------------------------

    def watch(self):
        """Serves whenever the main thread does not, for as long as the process lives."""
        poller = Poller(self.link)
        while True:
            with self.held:
                self.link.serve(poller, lambda: self.main_waits)
            self._wait_until_needed()

    def _wait_until_needed(self):
        idle = 0
        while True:
            if self.main_waits or self.main_serves:
                idle += 1
            elif time.monotonic() - self.left_at >= LEAD_TICK_SECONDS:
                return
            else:
                idle = 0
            if idle > LEAD_TICKS_IDLE:
                idle = 0
                self.needed.clear()
                if self.main_serves:  # it looks at `needed` after it has stopped: one of the two sees the other
                    self.needed.wait()
            time.sleep(LEAD_TICK_SECONDS)


class Poller:
    """One thread's poll on the link's socket and its wake-up pipe."""

    def __init__(self, link):
        self.link = link
        self.poll = select.poll()
        self.poll.register(link.wake_reader, select.POLLIN)
        self.interest = 0

    def wait(self, blocked, wait_ms):
        """[(descriptor, event)]; `blocked`: the socket takes no more for now."""
        sock = self.link.sock
        wanted = 0 if self.link.ended else select.POLLIN | select.POLLOUT if blocked else select.POLLIN
        if wanted != self.interest:
            if not wanted:
                self.poll.unregister(sock)
            elif self.interest:
                self.poll.modify(sock, wanted)
            else:
                self.poll.register(sock, wanted)
            self.interest = wanted
        return self.poll.poll(wait_ms)
