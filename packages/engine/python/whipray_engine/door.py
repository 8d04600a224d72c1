"""Doors: how a caller on this machine comes straight to this host, without the worker in between (PROTOCOL.md, "Doors")."""

import os
import socket
from _operator import _compare_digest as same_text  # what `hmac` has, without the import of OpenSSL

from . import wire
from .errors import DecodeError, HostError, ProtocolError, error_bytes
from .exits import say
from .frame import HELLO, REFUSE, WELCOME, Splitter, frame
from .limits import CALLER_LINES_LIMIT, DOOR_MS, HANDSHAKE_TIMEOUT_MS, PROTOCOL_VERSION, SESSION_RESUME_MS
from .line import BY_DIALER, Line

_PATH_BYTES = 107


class Door:
    """A socket file that the worker has named. One caller comes in, who knows the token; then, or after a while, it is gone."""

    def __init__(self, link, path, token):
        self.link, self.path, self.token = link, path, token
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.setblocking(False)
            self.sock.bind(path)
            os.chmod(path, 0o600)
            self.sock.listen(1)
        except BaseException:
            self.sock.close()
            raise
        self.descriptor = self.sock.fileno()
        self.blocked = self.ended = False
        self.timer = link.timers.at(DOOR_MS, self.close)

    def read(self):
        """Lets the caller in."""
        if self.ended:
            return
        try:
            sock, _ = self.sock.accept()
        except OSError:
            return  # gone again
        self.close()
        Visitor(self.link, sock, self.token)

    def close(self):
        if not self.ended:
            self.ended = True
            self.link.timers.cancel(self.timer)
            self.link.forget(self)
            try:
                os.unlink(self.path)
            except OSError:
                pass  # the worker has removed it
            self.sock.close()


class Visitor(Line):
    """The line of a caller that came in by a door. What it does wrong ends this line, never the process."""

    def __init__(self, link, sock, token):
        super().__init__(link, sock, Splitter(), BY_DIALER)
        self.token = token
        self.greet = self.welcome
        self.timer = link.timers.at(HANDSHAKE_TIMEOUT_MS, self.end)
        link.add(self, self)

    def read(self):
        try:
            super().read()
        except ProtocolError as error:
            say("a caller's connection was closed: %s: %s" % (error.code, error))
            self.end()

    def welcome(self, kind, header):
        """Its first frame."""
        hello = _decoded(header) if kind == HELLO else {}
        versions, token = hello.get("v"), hello.get("token")
        if hello.get("magic") != "whipray" or not isinstance(versions, list) or [type(one) for one in versions] != [int, int]:
            raise ProtocolError("WRONG_PROTOCOL", "the first frame is no HELLO")
        if not isinstance(token, str) or not same_text(token.encode("utf-8", "replace"), self.token.encode("utf-8", "replace")):
            self._refuse(HostError("UNAUTHENTICATED", "wrong token for this door"))
        if not versions[0] <= PROTOCOL_VERSION <= versions[1]:
            self._refuse(HostError("VERSION", "this host speaks version %d, the caller %d to %d" % (PROTOCOL_VERSION, *versions)))
        self.greet = None
        self.link.timers.cancel(self.timer)
        settings = self.link.settings
        head = {"v": PROTOCOL_VERSION, "address": settings.address, "inc": settings.incarnation, "features": [], "resumeMs": SESSION_RESUME_MS}
        if settings.cluster:
            head["cluster"] = settings.cluster
        self.control(frame(WELCOME, header=wire.pack(head)))

    def _refuse(self, error):
        self.control(frame(REFUSE, body=error_bytes(error, self.link.host.where, wire.pack)))
        self.write()
        raise ProtocolError(error.code, str(error))

    def on_end(self):
        """Its calls are told, as when it closes its routes."""
        self.link.timers.cancel(self.timer)
        self.close_routes("the caller is gone")
        self.link.forget(self, self)
        self.sock.close()


def _decoded(header):
    try:
        return wire.decode_map(bytes(header))
    except DecodeError as error:
        raise ProtocolError(error.code, "header of HELLO: %s" % error) from None


def open_door(link, path, token):
    """Opens one. Raises HostError."""
    if not isinstance(path, str) or not path.startswith("/") or len(os.fsencode(path)) > _PATH_BYTES:
        raise HostError("INVALID_ARGUMENT", "`path` must be absolute and have at most %d bytes" % _PATH_BYTES)
    if not isinstance(token, str) or len(token) < 32:
        raise HostError("INVALID_ARGUMENT", "`token` must be a string of at least 32 characters")
    if len(link.sources) > CALLER_LINES_LIMIT:
        raise HostError("LIMIT", "at most %d callers come in by doors at the same time" % CALLER_LINES_LIMIT, retryable=True)
    try:
        link.add(Door(link, path, token))
    except OSError as error:
        raise HostError("INVALID_PATH", "no door at %.200s: %s" % (path, error)) from None
