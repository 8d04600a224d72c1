"""Engines of the tests, without numpy."""

import ctypes
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import whipray_engine


class Custom(Exception):
    pass


class Engine:
    created = []

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs
        self.thread = threading.current_thread() is threading.main_thread()
        self.pool = ThreadPoolExecutor(4)
        self.log = []
        self.attribute = 5
        Engine.created.append(self)

    def echo(self, *args, **kwargs):
        return {"args": list(args), "kwargs": kwargs}

    def give(self, value):
        return value

    def add(self, a, b=1):
        self.log.append(a)
        return a + b

    def facts(self):
        return {
            "args": list(self.args), "kwargs": self.kwargs, "ctorOnMain": self.thread,
            "onMain": threading.current_thread() is threading.main_thread(), "log": self.log,
        }

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def spin(self, seconds):
        """Pure Python that never waits."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return "spun"

    def hold_gil(self, seconds):
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        return "held"

    def until_cancelled(self):
        while not whipray_engine.is_cancelled():
            time.sleep(0.005)
        self.log.append("saw cancel")
        raise whipray_engine.Cancelled("stopped half-way")

    def interruptible(self, seconds=30):
        try:
            time.sleep(seconds)
        except KeyboardInterrupt:
            self.log.append("interrupted")
            raise
        return "slept"

    def fail(self):
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise Custom("outer message") from error

    def attribute_error(self):
        return self.no_such_thing

    def fail_long(self, chars):
        raise ValueError("é" * chars)

    def fail_rudely(self):
        class Rude(Exception):
            def __str__(self):
                raise RuntimeError("no text")

        raise Rude()

    def future(self, seconds, fail=False):
        def work():
            time.sleep(seconds)
            if fail:
                raise Custom("in the pool")
            return "from the pool"

        return self.pool.submit(work)

    def count(self, n, size=0):
        for i in range(n):
            self.log.append(i)
            yield "x" * size if size else i
        return "end of %d" % n

    def count_and_fail(self, n):
        for i in range(n):
            yield i
        raise Custom("after %d" % n)

    def endless(self, size):
        try:
            i = 0
            while True:
                yield "y" * size
                i += 1
                self.made = i
        finally:
            self.log.append("closed")

    def unfit(self):
        return {"a": [1, {"b": {1, 2}}]}

    def keys(self):
        return {"a": {1: 2}}

    def env(self, name):
        return os.environ.get(name)

    def random(self):
        return random.random()

    def debug(self, a):
        here = a * 7
        breakpoint()
        return here

    def exit(self, code):
        sys.exit(code)

    def signal_self(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def fork_child(self):
        pid = os.fork()
        if pid == 0:
            time.sleep(3)
            os._exit(0)
        return pid

    def say(self, text):
        print(text)
        sys.stdout.write("no newline")

    def _private(self):
        return "secret"

    def destroy(self):
        print("destroyed", self.kwargs.get("tag"))


class Closing:
    def close(self):
        print("closed")


class Stubborn:
    def destroy(self):
        time.sleep(60)


class Broken:
    def __init__(self):
        raise Custom("cannot be made")


class FailingDestroy:
    def destroy(self):
        raise Custom("cannot be destroyed")


class Configured:
    def configure(self, config, role, rank):
        self.seen = [config, role, rank]

    def give(self):
        return self.seen


def a_function():
    return Engine()
