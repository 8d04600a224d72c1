"""All-reduce between a few training ranks over TCP: a star with rank 0 in the middle, raw float64 on the wire."""
import socket
import struct
import time

import numpy as np


class ProcessGroup:
    """All ranks construct it at the same time; it returns when all are there. Half a collective cannot be repaired:
    after any error close the group, which wakes the others with ConnectionError, and make a new one on all ranks."""

    def __init__(self, rank, world_size, address, timeout_s, hello_s=1.0):
        self.rank, self.world_size, self.address = rank, world_size, address
        self.timeout_s, self.hello_s = timeout_s, hello_s
        self.links = {}  # peer's rank → socket: rank 0 has all the others, the others have only rank 0
        (self._join if rank else self._gather)(time.monotonic() + timeout_s)
        self.all_reduce([rank])  # a barrier

    def all_reduce(self, values):
        """The sum of all ranks' vectors, in rank order: the same bits everywhere. ConnectionError if a peer is gone."""
        total, peer = np.array(values, "<f8"), 0
        try:
            if self.rank:
                send(self.links[0], total)
                return receive(self.links[0], total.size)
            for peer, link in sorted(self.links.items()):
                total += receive(link, total.size)
            for peer, link in self.links.items():
                send(link, total)
            return total
        except OSError as error:
            raise ConnectionError(f"rank {self.rank} lost rank {peer}: {error}") from error

    def close(self):
        for link in self.links.values():
            link.close()

    def _gather(self, deadline):
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        with socket.create_server(self.address, family=family) as server:  # sets SO_REUSEADDR
            while missing := set(range(1, self.world_size)) - set(self.links):
                server.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    link = server.accept()[0]
                except socket.timeout as error:
                    raise ConnectionError(f"rank 0 waited at {self.address} for ranks {missing} in vain") from error
                try:
                    link.settimeout(self.hello_s)  # longer than this no silent stranger holds up the others
                    rank, world_size = receive(link, 2)
                    if rank not in missing or world_size != self.world_size:
                        raise ConnectionError(f"unexpected rank {rank} of {world_size}")
                    link.settimeout(self.timeout_s)
                    self.links[int(rank)] = link
                except OSError:  # a port scanner, a rank of another run: not one of us, so wait on
                    link.close()

    def _join(self, deadline):
        while not self.links:
            try:
                self.links[0] = socket.create_connection(self.address, max(deadline - time.monotonic(), 0.001))
            except OSError as error:  # most often: rank 0 does not listen yet
                if time.monotonic() > deadline:
                    raise ConnectionError(f"rank {self.rank} found no rank 0 at {self.address}: {error}") from error
                time.sleep(0.05)
        self.links[0].settimeout(self.timeout_s)
        send(self.links[0], [self.rank, self.world_size])


def send(link, values):
    link.sendall(struct.pack("<4sI", b"DRL1", len(values)) + np.asarray(values, "<f8").tobytes())


def receive(link, size):
    """A frame of `size` floats. Both sides know the size: what a stranger claims is never allocated."""
    frame, header = b"", struct.pack("<4sI", b"DRL1", size)
    while len(frame) < 8 + 8 * size:
        chunk = link.recv(8 + 8 * size - len(frame))
        frame += chunk
        if not chunk or not header.startswith(frame[:8]):
            raise ConnectionError(f"it is out of step: {frame[:8]}" if chunk else "it closed the connection")
    return np.frombuffer(frame[8:], "<f8")
