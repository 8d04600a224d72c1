"""One connection with its routes: that to the worker, or one of a caller whom a door let in. Whoever touches it holds the link's turn."""

import os
from collections import deque

from . import wire
from .errors import DecodeError, HostError, ProtocolError, error_bytes
from .exits import leave
from .frame import CLOSE, GOODBYE, OPEN, OPENED, PING, PONG, frame
from .limits import MAX_ROUTES_PER_LINK, UNKNOWN_FRAMES_LIMIT
from .outbox import Outbox
from .route import Route

_READS_A_TURN = 4
BY_ACCEPTOR, BY_DIALER = 0, 1
"""Routes that the other side opens: even ones where we dialled, odd ones where it did."""


class Line:
    """That to the worker: its end is the end of this process (`Visitor` in door.py: a caller's)."""

    def __init__(self, link, sock, splitter, opens):
        self.link, self.sock, self.splitter, self.opens = link, sock, splitter, opens
        sock.setblocking(False)
        self.descriptor = sock.fileno()
        self.greet = None  # takes the first frame, where the other side has still to say who it is
        self.ended = False
        self.routes = {}
        self.highest_route = 0
        self.unknown = 0
        self.rotation = deque()  # routes that have frames to send
        self.controls = []
        self.outbox = Outbox()  # frames that were taken from their routes
        self.blocked = False  # the socket took no more at the last write
        self.awaited = False  # the I/O thread watches for room in it

    # --- receiving ---------------------------------------------------------------------------------------------------------------

    def read(self):
        """Takes what the socket has. Raises ProtocolError."""
        for _ in range(_READS_A_TURN):
            if self.ended:
                return
            room = self.splitter.room()
            try:
                count = os.readv(self.descriptor, [room])
            except BlockingIOError:
                return
            except OSError:
                count = 0
            if not count:
                self.end()
                return
            self.splitter.received(count)
            self.take_frames()
            if count < len(room):
                return

    def take_frames(self):
        for number, kind, flags, sequence, header, body in self.splitter.frames():
            if self.greet is not None:
                self.greet(kind, header)
                continue
            route = self.routes.get(number)
            if route is not None and kind != CLOSE and kind != OPEN:
                known = route.receive(kind, flags, sequence, header, body)
            elif number == 0:
                known = self._link_frame(kind, sequence)
            elif kind == OPEN:
                known = self._open(number, header)
            elif route is None:
                known = number <= self.highest_route  # frames that crossed with a CLOSE
            else:
                del self.routes[number]
                route.close(HostError("CONNECTION_LOST", "the caller has closed the route"))
                known = True
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
            self.end()
        else:
            return kind == PONG
        return True

    def _open(self, number, header):
        try:
            head = wire.decode_map(bytes(header))
        except DecodeError as error:
            raise ProtocolError(error.code, "header of OPEN: %s" % error) from None
        if number & 1 != self.opens or number in self.routes:
            words = ("even", "odd")[self.opens]
            raise ProtocolError("INVALID_MESSAGE", "route %d cannot be opened: the other side opens unused %s numbers" % (number, words))
        self.highest_route = max(self.highest_route, number)
        settings, host = self.link.settings, self.link.host
        error = None
        if head.get("to") != settings.address:
            error = HostError("NO_ROUTE", "this is %s, not %.200r" % (settings.address, head.get("to")))
        elif len(self.routes) >= MAX_ROUTES_PER_LINK:
            error = HostError("LIMIT", "a link has at most %d routes" % MAX_ROUTES_PER_LINK)
        if error is not None:
            self.control(frame(CLOSE, number, b"", error_bytes(error, host.where, wire.pack)))
        else:
            self.routes[number] = Route(self, host, number)
            self.control(frame(OPENED, number, wire.pack({"inc": settings.incarnation, "rx": 0, "fresh": True})))
        return True

    def end(self):
        """The other side is gone, or says goodbye."""
        if not self.ended:
            self.ended = True
            self.on_end()

    def on_end(self):
        if not self.link.ending:
            leave(self.link.exit_code)
        self.close_routes("the worker has closed the link")

    def close_routes(self, why):
        """Its callers' calls are told, and nothing more is sent."""
        for route in list(self.routes.values()):
            route.close(HostError("CONNECTION_LOST", why))
        self.routes.clear()
        self.controls.clear()
        self.outbox.clear()
        self.rotation.clear()

    # --- sending -----------------------------------------------------------------------------------------------------------------

    @property
    def has_output(self):
        return bool(self.outbox.buffers or self.controls or self.rotation)

    def control(self, data):
        """Sends a small frame before all messages."""
        self.controls.append(data)

    def has_frames(self, route):
        if route not in self.rotation:
            self.rotation.append(route)

    def write(self):
        """Writes until everything is out or the socket is full; returns whether it is full."""
        while True:
            if self.controls or self.rotation:
                self._gather()
            if not self.outbox.buffers:
                self.blocked = False
                break
            try:
                self.outbox.write(self.descriptor)
            except BlockingIOError:
                self.blocked = True
                break
            except OSError:
                self.outbox.clear()  # reading sees the end
                self.blocked = False
                break
        return self.blocked

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
