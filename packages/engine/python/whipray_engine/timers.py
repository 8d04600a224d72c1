"""Timers of the I/O thread."""

import heapq
import time

_SWEEP = 1_024


class Timers:
    """Functions to be called later. Cancelled ones are swept out in bulk: most deadlines are hours away and never pass."""

    def __init__(self):
        self.heap = []
        self.made = 0
        self.cancelled = 0

    def at(self, delay_ms, function, *args):
        self.made += 1
        timer = [time.monotonic() + delay_ms / 1000, self.made, function, args]
        heapq.heappush(self.heap, timer)
        return timer

    def cancel(self, timer):
        if timer is None or timer[2] is None:
            return
        timer[2] = timer[3] = None
        self.cancelled += 1
        if self.cancelled > _SWEEP and self.cancelled * 2 > len(self.heap):
            self.heap = [one for one in self.heap if one[2] is not None]
            heapq.heapify(self.heap)
            self.cancelled = 0

    def run(self):
        """Calls what is due and returns the milliseconds until the next one, or None."""
        while self.heap:
            timer = self.heap[0]
            wait = timer[0] - time.monotonic()
            if wait > 0:
                return wait * 1000  # also when it was cancelled: without it the next one would have to wake the thread that sleeps until then
            heapq.heappop(self.heap)
            function, args = timer[2], timer[3]
            if function is None:
                self.cancelled -= 1
            else:
                timer[2] = timer[3] = None
                function(*args)
        return None
