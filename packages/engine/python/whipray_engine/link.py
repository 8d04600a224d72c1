"""The link to the worker. One thread at a time serves it (`lead.py`): socket, every route and all timers; others reach it by `call_soon`.

Whatever touches that state holds `turn`, which the thread that serves only lets go of while it sleeps in poll. A reply of the main thread
is written by the main thread itself when it finds `turn` free (`call_now`): that saves two switches of threads in each call.
"""

import os
import select
import threading
import time
from collections import deque

from . import wire
from .errors import DecodeError, HostError, ProtocolError, error_bytes
from .exits import EXIT_DONE, EXIT_PROTOCOL, leave
from .frame import CLOSE, GOODBYE, OPEN, OPENED, PING, PONG, frame
from .lead import Lead
from .limits import MAX_ROUTES_PER_LINK, MAX_TIMER_MS, OUTBOUND_BYTES_LIMIT, UNKNOWN_FRAMES_LIMIT
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
        self.sleeping = False
        self.turn = threading.Lock()
        self.main_thread = threading.main_thread().ident
        self.main_in_turn = False
        """Whether the main thread touches the link's state: no KeyboardInterrupt may hit it now (see Runner)."""
        self.wake_reader, self.wake_writer = os.pipe()
        os.set_blocking(self.wake_reader, False)
        os.set_blocking(self.wake_writer, False)
        self.drained = threading.Condition()
        self.reply_bytes = 0
        sock.setblocking(False)
        self.lead = Lead(self)
        # A forked child must not keep the link open: the worker would not see this process end.
        os.register_at_fork(after_in_child=self._forget_descriptors)

    # --- from any thread ---------------------------------------------------------------------------------------------------------

    def call_soon(self, function, *args):
        """Calls it on the thread that serves the link."""
        self.inbox.append((function, args))
        self.wake()

    def call_now(self, function, *args):
        """As `call_soon`, but the calling thread does what is to be done if nobody is about it. Never blocks."""
        self.inbox.append((function, args))
        on_main = threading.get_ident() == self.main_thread
        if on_main:
            self.main_in_turn = True
        needs_poll = True
        try:
            if self.turn.acquire(blocking=False):
                timers_made = self.timers.made
                try:
                    needs_poll = self._take_turn() or self.timers.made != timers_made
                finally:
                    self.turn.release()
        finally:
            if on_main:
                self.main_in_turn = False
        if needs_poll:
            self.wake()

    def wake(self):
        """Whoever serves the link looks up."""
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

    # --- the thread that serves ----------------------------------------------------------------------------------------------------------

    def start(self, host):
        self.host = host
        threading.Thread(target=self._run, name="whipray-io", daemon=True).start()

    def _run(self):
        with self.turn:
            self._guarded(self._frames)  # what came together with WELCOME
        self.lead.watch()

    def _guarded(self, function, *args):
        """No error of the link is the user's: it ends the process, whichever thread finds it."""
        try:
            return function(*args)
        except ProtocolError as error:
            leave(EXIT_PROTOCOL, "%s: %s" % (error.code, error))
        except BaseException:
            import traceback

            leave(EXIT_PROTOCOL, "serving the link failed:\n%s" % traceback.format_exc())

    def serve(self, poller, done):
        """Reads, writes and runs timers until `done()`. Only for the thread that has the lead."""
        self._guarded(self._serve, poller, done)

    def _serve(self, poller, done):
        with self.turn:
            while True:
                blocked = self._take_turn()
                wait_ms = self.timers.run()
                if done():
                    return
                self.sleeping = True
                if self.inbox or self.controls or self.rotation and not blocked or done():
                    wait_ms = 0  # a timer, or another thread, has made something to do
                self.turn.release()
                try:
                    ready = poller.wait(blocked, None if wait_ms is None else min(wait_ms + 1, MAX_TIMER_MS))
                finally:
                    self.turn.acquire()
                self.sleeping = False
                for descriptor, event in ready:
                    if descriptor == self.wake_reader:
                        os.read(self.wake_reader, 65_536)
                    elif event & ~select.POLLOUT and not self._read():
                        self._end()
                        self.ended = True

    def _take_turn(self):
        """Does what was asked for and writes what can be written; returns whether the socket is full."""
        while self.inbox:
            function, args = self.inbox.popleft()
            function(*args)
        return self._write()

    def _read(self):
        """Takes what the socket has; False at its end."""
        for _ in range(_READS_A_TURN):
            room = self.splitter.room()
            try:
                count = self.sock.recv_into(room)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if count == 0:
                return False
            self.splitter.received(count)
            self._frames()
            if count < len(room):
                return True
        return True

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
            self._gather()
            if not self.outbox:
                return False
            try:
                self.outbox.write(self.sock)
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
        for close in (self.sock.close, lambda: os.close(self.wake_reader), lambda: os.close(self.wake_writer)):
            try:
                close()
            except OSError:
                pass  # closed before the fork
