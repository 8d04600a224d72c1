"""Threads for a class whose calls may run at the same time (Ray: threaded actors)."""

import threading
from queue import SimpleQueue

from .call import current_call

ELSEWHERE = object()
"""What a handler gives when another thread answers the call."""

_GENERATOR = type(_ for _ in ())


class Leaving:
    """Takes its turn in the main thread's queue as a call does, and ends the process there: SystemExit of a thread would end the thread alone."""

    shown = ""

    def __init__(self, error):
        self.error = error

    def start(self):
        raise self.error


class Pool:
    """Runs methods of one engine, at most `size` at a time. The main thread waits for a free thread, so what waits stays in its queue."""

    def __init__(self, runner, size):
        self.runner, self.size = runner, size
        self.jobs = SimpleQueue()
        self.changed = threading.Condition()
        self.busy = 0  # methods that run, or are about to
        self.threads = 0

    def take(self, call, method, positional, named):
        """Begins the call on another thread as soon as one is free. Main thread."""
        if self.busy >= self.size:
            self.runner.link.write_held()
        with self.changed:
            self.changed.wait_for(lambda: self.busy < self.size)
            if call.aborted is not None:
                raise call.aborted
            self.busy += 1
            needs_thread = self.busy > self.threads
        self.jobs.put((call, method, positional, named))
        if needs_thread:
            self.threads += 1
            # No method that hangs may keep the process from its end.
            threading.Thread(target=self._run, name="whipray-%d" % self.threads, daemon=True).start()
        return ELSEWHERE

    def drain(self):
        """Waits until no method runs."""
        with self.changed:
            self.changed.wait_for(lambda: self.busy == 0)

    def _run(self):
        while True:
            self._execute(*self.jobs.get())
            with self.changed:
                self.busy -= 1
                self.changed.notify()

    def _execute(self, call, method, positional, named):
        runner = self.runner
        current_call.set(call)
        try:
            box = [method(*positional, **named)]
            positional = named = None
            if type(box[0]) is _GENERATOR:
                runner.stream_here(call, box.pop())
            else:
                runner.deliver(call, box)
        except SystemExit as error:
            runner.submit(Leaving(error))
        except BaseException as error:
            call.fail(runner.failure(call, error))
        finally:
            current_call.set(None)
