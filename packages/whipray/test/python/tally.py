"""Classes of Python actors, for tests."""

import asyncio
import os
import signal
import sys


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
