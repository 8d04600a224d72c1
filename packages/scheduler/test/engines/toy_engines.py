"""Engines for the scheduler's tests with real processes."""

import os
import socket
import sys
import time

from whipray_engine import Cancelled, Tensor, is_cancelled


class Toy:
    def __init__(self, scale=1):
        self.scale = scale
        self.calls = 0

    def add(self, left, right):
        self.calls += 1
        return self.scale * (left + right)

    def how_often(self):
        return self.calls

    def env(self, *names):
        return [os.environ.get(name) for name in names]

    def exec_env(self, *names):
        """What the interpreter was started with."""
        with open("/proc/self/environ", "rb") as file:
            found = dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry)
        return [found[name.encode()].decode() if name.encode() in found else None for name in names]

    def pid(self):
        return os.getpid()

    def count(self, end):
        for index in range(end):
            yield index

    def sleep(self, seconds, mark=None):
        """The file `mark` says that it has begun."""
        if mark is not None:
            with open(mark, "w"):
                pass
        time.sleep(seconds)

    def boom(self):
        self.calls += 1
        raise ValueError("lr must be positive")

    def die(self, code):
        sys.stderr.write("CUDA error: an illegal memory access\n")
        sys.stderr.flush()
        os._exit(code)


class Broken:
    def __init__(self):
        raise RuntimeError("no weights at /models")


class Batches:
    """Returns tensors and tells what it was given."""

    def make(self, rows, columns):
        data = bytes(i % 256 for i in range(rows * columns))
        return {"rows": rows, "ids": Tensor("u1", [rows, columns], data)}

    def total(self, *batches):
        return [sum(bytes(memoryview(getattr(ids, "data", ids)).cast("B"))) for ids in batches]

    def shape(self, ids):
        return [getattr(ids, "shape", None) and list(ids.shape), str(ids.dtype)]


class Gang:
    """Ranks that meet at a port: rank 0 listens there, the others come and wait for its word."""

    def meet(self, rank, world_size, ip, port):
        if rank > 0:
            with self._connected(ip, port) as link:
                return link.recv(2).decode()
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((ip, port))
            listener.listen()
            for _ in range(world_size - 1):
                with listener.accept()[0] as link:
                    link.sendall(b"go")
        return "go"

    def _connected(self, ip, port):
        deadline = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection((ip, port))
            except ConnectionRefusedError:  # rank 0 is not there yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


class Server:
    """A server over several nodes: up when its further node has told which devices it sees."""

    def launch_server(self, server_args):
        deadline = time.monotonic() + 30
        while not os.path.exists(server_args["told"]):
            if time.monotonic() > deadline:
                raise TimeoutError("the further node did not tell")
            time.sleep(0.02)
        with open(server_args["told"]) as told:
            return [os.environ.get("CUDA_VISIBLE_DEVICES"), told.read()]


class Diary:
    """Remembers what it was called with, and tells who is connected to it."""

    def __init__(self):
        self.notes = []

    def note(self, number, _padding=None):
        self.notes.append(number)
        return number

    def read(self):
        return self.notes

    def pad(self, size):
        return bytes(size)

    def count(self, end):
        yield from range(end)

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def until_cancelled(self):
        while not is_cancelled():
            time.sleep(0.005)
        self.notes.append("cancelled")
        raise Cancelled()

    def sockets(self):
        """Connections that the host has, and the doors where its worker's socket is."""
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                links += [os.readlink("/proc/self/fd/" + name)] if int(name) > 2 else []
            except OSError:
                pass  # that of the listing itself
        folder = os.path.dirname(os.environ["WHIPRAY_ENGINE_SOCKET"].replace("unix:", ""))
        return [sum(link.startswith("socket:") for link in links), sum(name.endswith(".door") for name in os.listdir(folder))]

    def die(self):
        sys.stderr.write("CUDA error: an illegal memory access\n")
        sys.stderr.flush()
        os.kill(os.getpid(), 9)
