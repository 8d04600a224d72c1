"""The link to the worker: socket, every route and all timers. One thread at a time reads it (`lead.py`); others reach it by `call_soon`.

Whatever touches that state holds `turn`, which the threads that serve only let go of while they wait for bytes. A reply of the main thread
is written by the main thread itself when it finds `turn` free (`call_now`): that saves two switches of threads in each call.
"""

import math
import os
import select
import socket
import threading
import time
from collections import deque

from . import wire
from .errors import DecodeError, HostError, ProtocolError, error_bytes
from .exits import EXIT_DONE, EXIT_PROTOCOL, leave
from .frame import CLOSE, GOODBYE, OPEN, OPENED, PING, PONG, frame
from .lead import Lead
from .limits import HELD_BYTES, MAX_ROUTES_PER_LINK, MAX_TIMER_MS, OUTBOUND_BYTES_LIMIT, UNKNOWN_FRAMES_LIMIT
from .outbox import Outbox
from .route import Route
from .timers import Timers

_READS_A_TURN = 4


class Link:
    def __init__(self, sock, splitter, settings):
        self.sock, self.splitter, self.settings = sock, splitter, settings
        self.host = None
        self.exit_code = EXIT_DONE
        """What the process ends with when the worker goes away."""
        self.ending = False  # the main thread is leaving by itself: the end of the link is no reason to cut it short
        self.ended = False
        self.timers = Timers()
        self.routes = {}
        self.highest_route = 0
        self.unknown = 0
        self.rotation = deque()  # routes that have frames to send
        self.controls = []
        self.outbox = Outbox()  # frames that were taken from their routes
        self.inbox = deque()
        self.sleeping = False  # the I/O thread, in poll
        self.sleeps_until = 0.0
        self.awaits_room = False  # it watches for room in the socket
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
        # `recv` waits for bytes only (without a time limit it would also wake up each time that the worker has taken a reply);
        # reads and writes past the socket object never wait.
        sock.settimeout(MAX_TIMER_MS / 1000)
        self.descriptor = sock.fileno()
        self.lead = Lead(self)
        # A forked child must not keep the link open: the worker would not see this process end.
        os.register_at_fork(after_in_child=self._forget_descriptors)

    # --- from any thread ---------------------------------------------------------------------------------------------------------

    def call_soon(self, function, *args):
        """Calls it on the I/O thread."""
        self.inbox.append((function, args))
        self.wake()

    def call_now(self, function, *args):
        """As `call_soon`, but the calling thread does what is to be done if nobody is about it. Never blocks."""
        self.inbox.append((function, args))
        self._turn_now(True)

    def write_held(self):
        """Writes the answers that waited for those of quick calls."""
        if self.outbox.buffers:
            self._turn_now(False)

    def _turn_now(self, may_hold):
        on_main = threading.get_ident() == self.main_thread
        if on_main:
            self.main_in_turn = True
        needs_io = True
        try:
            if self.turn.acquire(blocking=False):
                try:
                    self._run_inbox()
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
        return self.outbox.bytes < HELD_BYTES and not self.lead.held.locked() and self.host.runner.goes_on()

    def _needs_io(self, blocked):
        """Whether the I/O thread would sleep too long, or not see that the socket takes more."""
        timers = self.timers.heap
        return blocked and not self.awaits_room or bool(timers) and timers[0][0] < self.sleeps_until

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
            if not self.outbox and not self.controls and not self.rotation and not self.inbox:
                written.set()
            elif time.monotonic() < until:
                self.timers.at(1, look)

        self.call_soon(look)
        written.wait(seconds)

    # --- the threads that serve ----------------------------------------------------------------------------------------------------

    def start(self, host):
        self.host = host
        with self.turn:
            self._guarded(self._frames)  # what came together with WELCOME
        threading.Thread(target=self.lead.watch, name="whipray-io", daemon=True).start()

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
            if not self.ended:
                self._read()
            if self._needs_io(self._take_turn()):
                self.wake()

    def read_until(self, has_work):
        """Reads until `has_work()` or the end. For the main thread, when it has the lead."""
        self._guarded(self._read_until, has_work)

    def _read_until(self, has_work):
        with self.turn:
            self.asked_for_echo = False
            while True:
                if self._needs_io(self._take_turn()):
                    self.wake()
                if self.ended or has_work():
                    return
                room = self.splitter.room()
                self.turn.release()
                try:
                    count = self.sock.recv_into(room)
                except socket.timeout:
                    count = None
                except OSError:
                    count = 0
                finally:
                    self.turn.acquire()
                if count is not None:
                    self._received(count)

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
                self.control(frame(PING))
            blocked = self.awaits_room = self._write()
            if longest_ms is not None:
                wait_ms = longest_ms if wait_ms is None else min(wait_ms, longest_ms)
            self.sleeping = True
            if self.inbox or self.controls or self.rotation and not blocked or reads and self.lead.main_waits:
                wait_ms = 0  # another thread has made something to do
            self.sleeps_until = time.monotonic() + wait_ms / 1000 if wait_ms is not None else math.inf
        ready = poller.wait(reads, blocked, None if wait_ms is None else min(wait_ms + 1, MAX_TIMER_MS))
        with self.turn:
            self.sleeping = False
            self.sleeps_until = 0.0
            for descriptor, event in ready:
                if descriptor == self.wake_reader:
                    os.read(self.wake_reader, 65_536)
                elif reads and event & ~select.POLLOUT:
                    self._read()

    def _take_turn(self):
        """Does what was asked for and writes what can be written; returns whether the socket is full."""
        if self.inbox:
            self._run_inbox()
        return self._write() if self.outbox.buffers or self.controls or self.rotation else False

    def _run_inbox(self):
        while self.inbox:
            function, args = self.inbox.popleft()
            function(*args)

    def _read(self):
        """Takes what the socket has."""
        for _ in range(_READS_A_TURN):
            room = self.splitter.room()
            try:
                count = os.readv(self.descriptor, [room])
            except BlockingIOError:
                return
            except OSError:
                count = 0
            self._received(count)
            if count < len(room):
                return

    def _received(self, count):
        if count:
            self.splitter.received(count)
            self._frames()
        else:
            self._end()
            self.ended = True

    def _end(self):
        """The worker is gone, and with it the reason for this process."""
        if not self.ending:
            leave(self.exit_code)
        for route in list(self.routes.values()):
            route.close(HostError("CONNECTION_LOST", "the worker has closed the link"))
        self.controls.clear()
        self.outbox.clear()
        self.rotation.clear()

    def _frames(self):
        for number, kind, flags, sequence, header, body in self.splitter.frames():
            if number == 0:
                known = self._link_frame(kind, sequence)
            elif kind == OPEN:
                known = self._open(number, header)
            else:
                route = self.routes.get(number)
                if route is None:
                    known = number <= self.highest_route  # frames that crossed with a CLOSE
                elif kind == CLOSE:
                    del self.routes[number]
                    route.close(HostError("CONNECTION_LOST", "the caller has closed the route"))
                    known = True
                else:
                    known = route.receive(kind, flags, sequence, header, body)
            if not known:
                self.unknown += 1
                if self.unknown >= UNKNOWN_FRAMES_LIMIT:
                    raise ProtocolError(
                        "UNKNOWN_MESSAGE", "%d frames made no sense; the last was of kind %d on route %d" % (self.unknown, kind, number)
                    )

    def _link_frame(self, kind, sequence):
        if kind == PING:
            self.control(frame(PONG, sequence=sequence))
        elif kind == GOODBYE:
            self._end()
        else:
            return kind == PONG
        return True

    def _open(self, number, header):
        try:
            head = wire.decode_map(bytes(header))
        except DecodeError as error:
            raise ProtocolError(error.code, "header of OPEN: %s" % error) from None
        if number & 1 or number in self.routes:
            raise ProtocolError("INVALID_MESSAGE", "route %d cannot be opened: the worker opens unused even numbers" % number)
        self.highest_route = max(self.highest_route, number)
        error = None
        if head.get("to") != self.settings.address:
            error = HostError("NO_ROUTE", "this is %s, not %.200r" % (self.settings.address, head.get("to")))
        elif len(self.routes) >= MAX_ROUTES_PER_LINK:
            error = HostError("LIMIT", "a link has at most %d routes" % MAX_ROUTES_PER_LINK)
        if error is not None:
            self.control(frame(CLOSE, number, b"", error_bytes(error, self.host.where, wire.pack)))
        else:
            self.routes[number] = Route(self, self.host, number)
            self.control(frame(OPENED, number, wire.pack({"inc": self.settings.incarnation, "rx": 0, "fresh": True})))
        return True

    def control(self, data):
        """Sends a small frame before all messages."""
        self.controls.append(data)

    def has_frames(self, route):
        if route not in self.rotation:
            self.rotation.append(route)

    def _write(self):
        """Writes until everything is out or the socket is full; returns whether it is full."""
        while True:
            if self.controls or self.rotation:
                self._gather()
            if not self.outbox.buffers:
                return False
            try:
                self.outbox.write(self.descriptor)
            except BlockingIOError:
                return True
            except OSError:
                self.outbox.clear()
                return False  # reading sees the end

    def _gather(self):
        """Takes frames from the routes in rotation, so that one with much to send holds back no other."""
        for data in self.controls:
            self.outbox.add(data)
        self.controls.clear()
        while self.rotation and self.outbox.has_room:
            route = self.rotation.popleft()
            buffers = route.pull()
            if buffers is not None:
                if route.ready:
                    self.rotation.append(route)
                for data in buffers:
                    self.outbox.add(data)

    def _forget_descriptors(self):
        self.descriptor = -1
        for close in (self.sock.close, lambda: os.close(self.wake_reader), lambda: os.close(self.wake_writer)):
            try:
                close()
            except OSError:
                pass  # closed before the fork
