"""What serves this process' connections: the worker's, those of callers that came in by a door, and all timers. One thread at a time reads
them (`lead.py`); others reach them by `call_soon`.

Whatever touches that state holds `turn`, which the threads that serve only let go of while they wait for bytes. A reply of the main thread
is written by the main thread itself when it finds `turn` free (`call_now`): that saves two switches of threads in each call.
"""

import math
import os
import threading
import time
from collections import deque

from .errors import ProtocolError
from .exits import EXIT_DONE, EXIT_PROTOCOL, leave
from .frame import PING, frame
from .lead import Lead, Poller
from .limits import HELD_BYTES, MAX_TIMER_MS, OUTBOUND_BYTES_LIMIT
from .line import BY_ACCEPTOR, Line
from .timers import Timers

_TICK_SECONDS = 0.001
"""What `poll` counts in: timers that are nearer to each other ring together."""


class Link:
    def __init__(self, sock, splitter, settings):
        self.settings = settings
        self.host = None
        self.exit_code = EXIT_DONE
        """What the process ends with when the worker goes away."""
        self.ending = False  # the main thread is leaving by itself: the end of the link is no reason to cut it short
        self.timers = Timers()
        self.worker = Line(self, sock, splitter, BY_ACCEPTOR)
        self.lines = [self.worker]
        self.sources = [self.worker]  # what is polled: lines and doors
        self.changes = 0  # of `sources`
        self.inbox = deque()
        self.sleeping = False  # the I/O thread, in poll
        self.sleeps_until = 0.0
        self.turn = threading.Lock()
        self.main_thread = threading.main_thread().ident
        self.main_in_turn = False
        """Whether the main thread touches the link's state: no KeyboardInterrupt may hit it now (see Runner)."""
        self.wake_reader, self.wake_writer = os.pipe()
        os.set_blocking(self.wake_reader, False)
        os.set_blocking(self.wake_writer, False)
        self.asked_for_echo = False
        self.drained = threading.Condition()
        self.reply_bytes = 0
        self.lead = Lead(self)
        self.poller = Poller(self, None)  # the main thread's
        # A forked child must not keep the link open: the worker would not see this process end.
        os.register_at_fork(after_in_child=self._forget_descriptors)

    @property
    def ended(self):
        return self.worker.ended

    # --- from any thread ---------------------------------------------------------------------------------------------------------

    def call_soon(self, function, *args):
        """Calls it on the I/O thread."""
        self.inbox.append((function, args))
        self.wake()

    def call_now(self, function, *args):
        """As `call_soon`, but the calling thread does what is to be done if nobody is about it. Never blocks."""
        self._turn_now(True, function, args)

    def write_held(self):
        """Writes the answers that waited for those of quick calls."""
        for line in self.lines:
            if line.outbox.buffers:
                self._turn_now(False)
                return

    def _turn_now(self, may_hold, function=None, args=()):
        on_main = threading.get_ident() == self.main_thread
        if on_main:
            self.main_in_turn = True
        needs_io = True
        try:
            if not self.turn.acquire(False):
                if function is not None:
                    self.inbox.append((function, args))
            else:
                try:
                    if self.inbox:
                        self._run_inbox()
                    if function is not None:
                        function(*args)
                    if may_hold and on_main and self._may_hold():
                        needs_io = False  # the main thread comes by soon, or else the I/O thread, which looks up by itself
                    else:
                        needs_io = self._needs_io(self._write())
                finally:
                    self.turn.release()
        finally:
            if on_main:
                self.main_in_turn = False
        if needs_io:
            self.wake()

    def _may_hold(self):
        return self.host.runner.goes_on() and not self.lead.held.locked() and sum([line.outbox.bytes for line in self.lines]) < HELD_BYTES

    def _needs_io(self, blocked):
        """Whether the I/O thread would sleep too long, or not see that the socket takes more."""
        timers = self.timers.heap
        return blocked and any([line.blocked and not line.awaited for line in self.lines]) or bool(timers) and timers[0][0] + _TICK_SECONDS < self.sleeps_until

    def wake(self):
        """The I/O thread looks up."""
        if self.sleeping:
            self.sleeping = False
            try:
                os.write(self.wake_writer, b"w")
            except BlockingIOError:
                pass  # the pipe is full of wake-ups already

    def outbound(self, size):
        """Counts bytes of replies that wait to be sent."""
        if size:
            with self.drained:
                self.reply_bytes += size
                if size < 0:
                    self.drained.notify_all()

    def wait_for_room(self):
        """Holds the main thread while too many bytes of replies wait."""
        if self.reply_bytes > OUTBOUND_BYTES_LIMIT:
            with self.drained:
                self.drained.wait_for(lambda: self.reply_bytes <= OUTBOUND_BYTES_LIMIT)

    def flush(self, seconds):
        """Waits until everything queued so far has been written, at most so long."""
        written = threading.Event()
        until = time.monotonic() + seconds

        def look():
            if not self.inbox and not any(line.has_output for line in self.lines):
                written.set()
            elif time.monotonic() < until:
                self.timers.at(1, look)

        self.call_soon(look)
        written.wait(seconds)

    # --- the threads that serve ----------------------------------------------------------------------------------------------------

    def start(self, host):
        self.host = host
        with self.turn:
            self._guarded(self.worker.take_frames)  # what came together with WELCOME
        threading.Thread(target=self.lead.watch, name="whipray-io", daemon=True).start()

    def add(self, source, line=None):
        """Something more to be polled."""
        self.sources.append(source)
        if line is not None:
            self.lines.append(line)
        self.changes += 1

    def forget(self, source, line=None):
        self.sources.remove(source)
        if line is not None:
            self.lines.remove(line)
            self.host.results.forget(line)
        self.changes += 1

    def _guarded(self, function, *args):
        """No error of the link is the user's: it ends the process, whichever thread finds it."""
        try:
            return function(*args)
        except ProtocolError as error:
            leave(EXIT_PROTOCOL, "%s: %s" % (error.code, error))
        except BaseException:
            import traceback

            leave(EXIT_PROTOCOL, "serving the link failed:\n%s" % traceback.format_exc())

    def look(self):
        """Writes what waits and reads what has come. For the main thread between two calls, when it has the lead."""
        self._guarded(self._look)

    def _look(self):
        with self.turn:
            for source in list(self.sources):
                source.read()
            if self._needs_io(self._take_turn()):
                self.wake()

    def read_until(self, has_work, until):
        """Reads until `has_work()`, the end, or that time. For the main thread, when it has the lead."""
        self._guarded(self._read_until, has_work, until)

    def _read_until(self, has_work, until):
        with self.turn:
            self.asked_for_echo = False
            while True:
                if self._needs_io(self._take_turn()):
                    self.wake()
                if self.worker.ended or has_work():
                    return
                wait_ms = None if until is None else (until - time.monotonic()) * 1000
                if wait_ms is not None and wait_ms <= 0:
                    return
                self.poller.prepare(True, False)
                self.turn.release()
                try:
                    ready = self.poller.wait_awake(wait_ms)
                finally:
                    self.turn.acquire()
                for source in ready:
                    source.read()

    def serve(self, poller, reads, longest_ms):
        """One turn of the I/O thread: timers and what was asked for, then it sleeps until there is more. `reads`: it has the lead."""
        self._guarded(self._serve, poller, reads, longest_ms)

    def _serve(self, poller, reads, longest_ms):
        with self.turn:
            wait_ms = self.timers.run()
            self._run_inbox()
            if self.lead.main_reads and not self.asked_for_echo and self.host.runner.has_call():
                # By a timer or another thread. Nothing but bytes wakes the main thread: the worker's answer will.
                self.asked_for_echo = True
                self.worker.control(frame(PING))
            blocked = self._write()
            for line in self.lines:
                line.awaited = line.blocked
            if longest_ms is not None:
                wait_ms = longest_ms if wait_ms is None else min(wait_ms, longest_ms)
            self.sleeping = True
            if self.inbox or reads and self.lead.main_waits or any(line.controls or line.rotation and not line.blocked for line in self.lines):
                wait_ms = 0  # another thread has made something to do
            self.sleeps_until = time.monotonic() + wait_ms / 1000 if wait_ms is not None else math.inf
            poller.prepare(reads, blocked)
        ready = poller.wait(None if wait_ms is None else min(wait_ms + 1, MAX_TIMER_MS))
        with self.turn:
            self.sleeping = False
            self.sleeps_until = 0.0
            for source in ready:
                source.read()

    def _take_turn(self):
        """Does what was asked for and writes what can be written; returns whether a socket is full."""
        if self.inbox:
            self._run_inbox()
        return self._write()

    def _run_inbox(self):
        while self.inbox:
            function, args = self.inbox.popleft()
            function(*args)

    def _write(self):
        """Writes until everything is out or the sockets are full; returns whether one is full."""
        blocked = False
        for line in self.lines:
            if line.outbox.buffers or line.controls or line.rotation:
                blocked = line.write() or blocked
        return blocked

    def _forget_descriptors(self):
        for source in self.sources:
            source.descriptor = -1
        closes = [source.sock.close for source in self.sources] + [lambda: os.close(self.wake_reader), lambda: os.close(self.wake_writer)]
        for close in closes:
            try:
                close()
            except OSError:
                pass  # closed before the fork
