"""A worker for tests: listens on a unix socket, starts the engine host and talks to it, frame by frame."""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)
sys.path.insert(0, PACKAGE)

from whipray_engine import wire  # noqa: E402
from whipray_engine.assembly import Assembly  # noqa: E402
from whipray_engine.frame import (  # noqa: E402
    CANCEL, CHUNK, CHUNKED, CLOSE, CREDIT, DEMAND, END, ERROR, GOODBYE, HELLO, ITEM, ONEWAY, OPEN, OPENED, PING, PONG, REFUSE, REPLY,
    REQUEST, STREAM, U32, USES_CREDIT, WELCOME, Splitter, frame,
)
from whipray_engine.limits import CHUNK_BYTES, INLINE_BYTES, PREFIX_BYTES, ROUTE_WINDOW_BYTES  # noqa: E402
from whipray_engine.tensor import find_numpy  # noqa: E402

find_numpy()
wire.load_c()
TOKEN = "a-token-of-this-test"
ADDRESS = "node_test/engine_test"


class Remote(Exception):
    """An ERROR frame: `wire` is its body."""

    def __init__(self, wire_error):
        super().__init__("%(code)s: %(message)s" % wire_error)
        self.wire = wire_error
        self.code = wire_error["code"]


class Answer:
    """What came for one call."""

    def __init__(self):
        self.items, self.value, self.error, self.done, self.count = [], None, None, False, None
        self.assembly, self.kind = None, None


class Worker:
    """`grant`: give credit back for what arrives. Use as a context manager: the host is gone afterwards."""

    def __init__(self, python=None, env=None, grant=True, stdio=None, welcome=True, start=True):
        self.folder = tempfile.mkdtemp(prefix="whipray-host-", dir="/tmp")
        self.grant = grant
        self.route, self.sequence, self.granted = 2, 0, {}
        self.answers, self.controls, self.frames = {}, [], []
        self.window = {}
        self.sock, self.splitter = None, Splitter()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = os.path.join(self.folder, "worker.sock")
        self.listener.bind(path)
        self.listener.listen(1)
        token = os.path.join(self.folder, "token")
        with open(token, "w") as file:
            file.write(TOKEN)
        os.chmod(token, 0o600)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": self.folder,
            "PYTHONPATH": os.path.join(HERE, "engines") + ":" + PACKAGE,
            "WHIPRAY_ENGINE_SOCKET": path,
            "WHIPRAY_ENGINE_ADDRESS": ADDRESS,
            "WHIPRAY_ENGINE_TOKEN_FILE": token,
        }
        self.env.update(env or {})
        self.python = python or [sys.executable]
        self.process = None
        if start:
            self.start(stdio)
            if welcome:
                self.welcome()

    def start(self, stdio=None):
        self.output = open(os.path.join(self.folder, "out"), "w+b")
        self.process = subprocess.Popen(
            self.python + ["-m", "whipray_engine"], env=self.env, cwd=self.folder, stdin=stdio or subprocess.DEVNULL,
            stdout=stdio or self.output, stderr=stdio or subprocess.STDOUT, start_new_session=stdio is not None,
        )
        self.listener.settimeout(20)
        self.sock, _ = self.listener.accept()
        self.sock.setblocking(False)
        _, kind, _, _, self.hello, _ = self.next_frame()
        assert kind == HELLO
        self.hello = wire.decode_map(self.hello)

    def welcome(self):
        head = {"v": 1, "address": "node_test/worker_test", "inc": "inc_worker", "cluster": "cluster_test", "features": [], "resumeMs": 30000}
        self.send(frame(WELCOME, header=wire.pack(head)))
        self.open(2)

    def open(self, route, to=ADDRESS):
        head = {"to": to, "from": "node_test/worker_test", "inc": "inc_worker", "role": "worker", "session": "s%d" % route, "rx": 0, "purpose": "data"}
        self.send(frame(OPEN, route, header=wire.pack(head)))
        self.pump(lambda: any(kind in (OPENED, CLOSE) and number == route for number, kind, _, _ in self.controls))
        self.granted[route] = 0
        self.window[route] = ROUTE_WINDOW_BYTES

    def text(self):
        self.output.flush()
        with open(self.output.name, "rb") as file:
            return file.read().decode("utf-8", "replace")

    # --- frames ------------------------------------------------------------------------------------------------------------------

    def send(self, data):
        view = memoryview(data)
        until = time.monotonic() + 30
        while len(view):
            readable, writable, _ = select.select([self.sock], [self.sock], [], 1)
            assert time.monotonic() < until, "the host does not read"
            if readable:
                self.read()
            if writable:
                try:
                    view = view[self.sock.send(view) :]
                except BlockingIOError:
                    pass

    def next_frame(self, timeout=20):
        until = time.monotonic() + timeout
        while True:
            for number, kind, flags, sequence, header, body in self.splitter.frames():
                return number, kind, flags, sequence, bytes(header), bytes(body)
            select.select([self.sock], [], [], max(0, until - time.monotonic()))
            assert time.monotonic() < until, "no frame came"
            count = self.sock.recv_into(self.splitter.room())
            assert count, "the host closed the link: %s" % self.text()
            self.splitter.received(count)

    def read(self):
        try:
            count = self.sock.recv_into(self.splitter.room())
        except BlockingIOError:
            return
        if count == 0:
            raise EOFError("the host closed the link: %s" % self.text())
        self.splitter.received(count)
        for number, kind, flags, sequence, header, body in self.splitter.frames():
            self.frames.append((number, kind, flags, sequence, len(body)))
            if kind in USES_CREDIT:
                size = PREFIX_BYTES + len(header) + len(body)
                self.window[number] -= size
                assert self.window[number] >= 0, "the host overran its credit"
                if self.grant:
                    self.credit(size, number)
            if kind == PING:
                self.send(frame(PONG, sequence=sequence))
            elif kind == CREDIT:
                self.granted[number] += U32.unpack(body)[0]
            elif kind in (REPLY, ERROR, ITEM, END, CHUNK):
                self.answer(kind, flags, sequence, wire.decode_map(bytes(header)) if len(header) else {}, body)
            elif kind != OPENED or number:
                self.controls.append((number, kind, bytes(header), bytes(body)))

    def credit(self, size, route=2):
        self.window[route] += size
        self.sock.setblocking(True)
        self.sock.sendall(frame(CREDIT, route, body=U32.pack(size)))
        self.sock.setblocking(False)

    def answer(self, kind, flags, sequence, header, body):
        answer = self.answers.setdefault(sequence, Answer())
        assert not answer.done, "two answers to call %d" % sequence
        if kind != CHUNK:
            answer.kind, answer.header = kind, header
            if kind == END:
                answer.count = header["n"]
            lengths = header.get("p") or [len(body)]
            answer.assembly = Assembly(lengths)
            assert bool(flags & CHUNKED) == (sum(lengths) > INLINE_BYTES and kind != ERROR)
        answer.assembly.feed(body)
        if answer.assembly.missing == 0:
            parts = answer.assembly.take()
            kind = answer.kind
            if kind == ERROR:
                answer.error = wire.decode_map(parts[0])
            elif kind == END:
                answer.value = wire.decode(parts) if parts[0] else None
            elif kind == ITEM:
                assert answer.header["i"] == len(answer.items)
                answer.items.append(wire.decode(parts))
            else:
                answer.value = wire.decode(parts)
            answer.done = kind != ITEM

    def pump(self, until, timeout=20):
        """Reads until `until()` holds."""
        deadline = time.monotonic() + timeout
        while not until():
            select.select([self.sock], [], [], 0.05)
            self.read()
            assert time.monotonic() < deadline, "waited too long; the host said: %s" % self.text()

    def idle(self, seconds):
        """Reads for a while, where a test shows that nothing comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            select.select([self.sock], [], [], 0.02)
            self.read()

    # --- calls -------------------------------------------------------------------------------------------------------------------

    def request(self, method, args=None, stream=False, route=None, oneway=False, upload=None, **head):
        """Sends a request and returns its sequence. `upload`: bytes of its chunks to send now."""
        self.sequence += 1
        route = self.route if route is None else route
        parts = wire.encode([{} if args is None else args])
        size = sum(map(len, parts))
        chunked = size > INLINE_BYTES or upload is not None
        header = dict(head, m=method)
        if chunked or len(parts) > 1:
            header["p"] = [len(part) for part in parts]
        header = wire.pack(header)
        kind = ONEWAY if oneway else REQUEST
        flags = (CHUNKED if chunked else 0) | (STREAM if stream else 0)
        data = b"" if chunked else b"".join(parts)
        self.send(frame(kind, route, header, data, flags, self.sequence))
        if chunked:
            whole = memoryview(b"".join(parts))
            self.rest = whole[upload:] if upload is not None else b""
            self.chunks(self.sequence, whole[:upload] if upload is not None else whole, route)
        return self.sequence

    def chunks(self, sequence, data, route=None):
        route = self.route if route is None else route
        for at in range(0, len(data), CHUNK_BYTES):
            self.send(frame(CHUNK, route, b"", bytes(data[at : at + CHUNK_BYTES]), 0, sequence))

    def wait(self, sequence, timeout=20):
        self.pump(lambda: sequence in self.answers and self.answers[sequence].done, timeout)
        answer = self.answers[sequence]
        if answer.error is not None:
            raise Remote(answer.error)
        return answer.value

    def ask(self, method, args=None, timeout=20, **options):
        return self.wait(self.request(method, args, **options), timeout)

    def create(self, path, name="e", args=(), kwargs=None, **more):
        return self.ask("create_engine", {"engine": path, "engineName": name, "args": list(args), "kwargs": kwargs or {}, **more})

    def begin(self, method, *args, engine="e", meta=None, stream=False, head=None, **kwargs):
        asked = {"method": method, "engineName": engine, "args": list(args), "kwargs": kwargs}
        if meta is not None:
            asked["rpcMeta"] = meta
        return self.request("call", asked, stream=stream, **(head or {}))

    def call(self, method, *args, **options):
        return self.wait(self.begin(method, *args, **options))

    def cancel(self, sequence, route=None):
        self.send(frame(CANCEL, self.route if route is None else route, sequence=sequence))

    def demand(self, sequence, count, consumed=0):
        self.send(frame(DEMAND, self.route, body=U32.pack(count) + U32.pack(consumed), sequence=sequence))

    def fails(self, sequence):
        """The error that the call ended with."""
        try:
            value = self.wait(sequence)
        except Remote as error:
            return error.wire
        raise AssertionError("call %d succeeded: %r" % (sequence, value))

    def running(self, method):
        """Waits until the host says that it runs this method."""
        until = time.monotonic() + 20
        while self.ask("health").get("method") != method:
            assert time.monotonic() < until
            time.sleep(0.01)

    # --- the end -----------------------------------------------------------------------------------------------------------------

    def exit_code(self, timeout=10):
        return self.process.wait(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in (self.sock, self.listener):
            if one is not None:
                one.close()
        try:
            if self.process is not None:
                self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            raise AssertionError("the host outlived its link: %s" % self.text()) from None
        finally:
            if self.process is not None:
                self.output.close()
            shutil.rmtree(self.folder)


class Caller(Worker):
    """Somebody else on this machine, who comes to the host of `worker` by a door. `token`: what it says there."""

    def __init__(self, worker, token=None, opens=True, grant=True):
        self.worker, self.process, self.grant = worker, None, grant
        self.path = os.path.join(worker.folder, "door-%d.sock" % worker.sequence)
        self.route, self.sequence, self.granted, self.window = 1, 0, {}, {}
        self.answers, self.controls, self.frames, self.splitter = {}, [], [], Splitter()
        worker.ask("open_door", {"path": self.path, "token": TOKEN * 2})
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)
        self.sock.setblocking(False)
        head = {"magic": "whipray", "v": [1, 1], "role": "driver", "token": token or TOKEN * 2, "address": "node_test/driver_test", "inc": "inc_driver"}
        self.send(frame(HELLO, header=wire.pack(dict(head, purpose="data", features=[]))))
        if opens:
            _, kind, _, _, header, _ = self.next_frame()
            assert kind == WELCOME and wire.decode_map(header)["address"] == ADDRESS
            self.open(1)

    def text(self):
        return self.worker.text()

    def __exit__(self, *_):
        self.sock.close()
