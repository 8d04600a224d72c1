"""Classes of Python actors, for tests."""

import asyncio
import os
import signal
import sys
import threading


class Tally:
    def __init__(self, start, *, step=1):
        if start < 0:
            raise ValueError("start must be 0 or more; got %d" % start)
        self.value, self.step = start, step

    def add(self, times=1, *, step=None):
        self.value += times * (self.step if step is None else step)
        return self.value

    def total(self, values):
        return sum(values)

    def double(self, values):
        return [value * 2 for value in values] if isinstance(values, list) else values * 2

    def env(self, name):
        return os.environ.get(name)

    def pid(self):
        return os.getpid()

    def fail(self):
        return {}["nothing here"]

    def count(self, n):
        for i in range(n):
            yield i

    def die(self):
        print("the last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self):
        sys.exit(0)

    def note_at_end(self, path):
        self.path = path

    def close(self):
        if hasattr(self, "path"):
            with open(self.path, "w") as file:
                file.write("closed")


class Meeting:
    """Its calls wait for each other."""

    def __init__(self):
        self.here = 0
        self.all = asyncio.Event()

    async def meet(self, people):
        self.here += 1
        if self.here == people:
            self.all.set()
        await self.all.wait()
        return self.here

    async def present(self):
        return self.here


class Crowd:
    """Its calls wait for each other, on threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.here = self.most = 0
        self.all = threading.Event()

    def meet(self, people):
        with self.lock:
            self.here += 1
            self.most = max(self.most, self.here)
            if self.here == people:
                self.all.set()
        self.all.wait()
        with self.lock:
            self.here -= 1
        return self.most

    def leave(self):
        sys.exit(0)


class Looker:
    """Says where the memory of its arguments lies. Needs numpy."""

    def __init__(self, first=None):
        self.kept = first

    def look(self, values, other=None, scale=1):
        """Sum of all, and how many of the arrays lie in shared memory of the store."""
        arrays = [one for one in (values, other) if hasattr(one, "ctypes")]
        total = sum(float(one.sum()) for one in arrays) * scale
        return [total, sum(map(_is_shared, arrays))]

    def first(self):
        return [float(self.kept.sum()), _is_shared(self.kept)]

    def keep(self, values):
        self.kept = values

    def write(self, values):
        values[0] = -1
        return float(values[0])

    def fail(self, values):
        raise ValueError("no")


def _is_shared(array):
    address = array.ctypes.data
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            if start <= address < end:
                return "memfd:whipray-" in line
    return False
