"""An engine whose methods run on threads when it is created with `maxConcurrency`."""

import sys
import threading
import time

from whipray_engine.call import is_cancelled


class Threaded:
    def __init__(self):
        self.lock = threading.Lock()
        self.here = self.most = 0
        self.gate = threading.Event()

    def meet(self, people):
        """Waits until so many are here; gives how many were here at most."""
        with self.lock:
            self.here += 1
            self.most = max(self.most, self.here)
            if self.here == people:
                self.gate.set()
        self.gate.wait()
        with self.lock:
            self.here -= 1
        return self.most

    def where(self):
        return threading.current_thread() is threading.main_thread()

    def until_cancelled(self):
        while not is_cancelled():
            time.sleep(0.001)
        raise RuntimeError("cancelled")

    def count(self, n):
        for i in range(n):
            yield i
        return "end of %d" % n

    def fail(self):
        return {}["nothing here"]

    def leave(self, code):
        sys.exit(code)

    def close(self):
        print("closed with", self.here, file=sys.stderr, flush=True)
