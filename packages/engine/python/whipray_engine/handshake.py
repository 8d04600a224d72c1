"""The first words on the link: HELLO, and WELCOME or REFUSE."""

import os
import socket
import time

from . import wire
from .errors import HostError, ProtocolError
from .frame import HELLO, REFUSE, WELCOME, Splitter, frame
from .limits import HANDSHAKE_TIMEOUT_MS, PROTOCOL_VERSION


class Refused(HostError):
    """The worker does not want this process; the code is the worker's."""


def dial(settings):
    """Connects to the worker and returns (socket, splitter). Raises OSError, Refused, ProtocolError, DecodeError."""
    until = time.monotonic() + HANDSHAKE_TIMEOUT_MS / 1000
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(HANDSHAKE_TIMEOUT_MS / 1000)
        sock.connect(settings.socket_path)
        sock.sendall(_hello(settings))
        return sock, _await_welcome(sock, until)
    except BaseException:
        sock.close()
        raise


def _hello(settings):
    header = {
        "magic": "whipray",
        "v": [PROTOCOL_VERSION, PROTOCOL_VERSION],
        "role": "engine",
        "token": settings.token(),
        "address": settings.address,
        "inc": settings.incarnation,
        "purpose": "data",
        "features": [],
        "pid": os.getpid(),
    }
    if settings.cluster:
        header["cluster"] = settings.cluster
    return frame(HELLO, header=wire.pack(header))


def _await_welcome(sock, until):
    splitter = Splitter()
    while True:
        sock.settimeout(max(0.001, until - time.monotonic()))
        try:
            count = sock.recv_into(splitter.room())
        except socket.timeout:
            raise ProtocolError("HANDSHAKE_TIMEOUT", "no WELCOME within %d ms" % HANDSHAKE_TIMEOUT_MS) from None
        if count == 0:
            raise ConnectionError("the worker closed the connection before it said WELCOME")
        splitter.received(count)
        for _route, kind, _flags, _sequence, header, body in splitter.frames():
            if kind == REFUSE:
                error = wire.decode_map(bytes(body))
                raise Refused(str(error.get("code")), str(error.get("message")))
            if kind != WELCOME:
                raise ProtocolError("WRONG_PROTOCOL", "the answer to HELLO was a frame of kind %d" % kind)
            version = wire.decode_map(bytes(header)).get("v")
            if version != PROTOCOL_VERSION:
                raise ProtocolError("VERSION", "the worker chose version %.40r; this host speaks %d" % (version, PROTOCOL_VERSION))
            return splitter
