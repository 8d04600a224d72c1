"""Free ports of this host, for tests without a raylet: the worker leases ports from the raylet (design.md, mechanism 13)."""

import socket

from .errors import HostError
from .limits import PORTS_A_CALL


class Ports:
    """Gives each port of the range at most once."""

    def __init__(self, port_range):
        self.range = port_range
        self.given = set()

    def alloc(self, count):
        """That many ports on which TCP and UDP could be bound a moment ago. Raises INVALID_ARGUMENT, PORT_ALLOCATION."""
        if type(count) is not int or not 1 <= count <= PORTS_A_CALL:
            raise HostError("INVALID_ARGUMENT", "`count` must be a whole number from 1 to %d, not %.40r" % (PORTS_A_CALL, count))
        if self.range is None:
            raise HostError("PORT_ALLOCATION", "this engine has no ports of its own (WHIPRAY_PORT_RANGE): ask the worker, which leases them")
        ports = []
        for port in self.range:
            if port not in self.given and _is_free(port):
                ports.append(port)
                if len(ports) == count:
                    self.given.update(ports)
                    return {"ports": ports}
        raise HostError(
            "PORT_ALLOCATION",
            "%d of %d ports are free in %d-%d; ports given before are not given again" % (len(ports), count, self.range[0], self.range[-1]),
            {"asked": count, "free": len(ports)},
        )


def _is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
