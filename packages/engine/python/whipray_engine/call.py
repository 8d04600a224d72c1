"""One call from its arrival to its last frame, and what user code may ask about the call that it runs in."""

import contextvars
import threading
import time

from . import tensor, wire
from .errors import EngineFailure, HostError, error_bytes
from .frame import ERROR, REPLY
from .limits import INLINE_OBJECT_BYTES, LENT_BYTES, LENT_SECONDS
from .stream import Stream

_DROPPING = frozenset(("CANCELLED", "STREAM_STALLED", "DEADLINE_EXCEEDED", "CONNECTION_LOST"))

ARRIVING, QUEUED, RUNNING, DONE = range(4)

current_call = contextvars.ContextVar("whipray_call", default=None)


def is_cancelled():
    """Whether the caller cancelled the running call, its deadline passed, or the caller is gone. For loops in user code."""
    call = current_call.get()
    return call is not None and call.aborted is not None


def as_map(value):
    """The arguments of a host method. Raises INVALID_ARGUMENT."""
    if not isinstance(value, dict):
        raise HostError("INVALID_ARGUMENT", "arguments of a host method must be a map, not a %s" % type(value).__name__)
    return value


class Calls:
    """Counts the calls that wait and run. One lock for all changes of state, which come from several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.queued = 0
        self.queued_bytes = 0
        self.running = {}


class Call:
    """A request, from any thread answered at most once: by `reply`, `fail`, or a stream's end."""

    # How each call begins: most never have more of it.
    state = ARRIVING
    arrived = False  # all its bytes are here
    assembly = None
    parts = None  # undecoded, for the main thread
    args = None
    engine = None
    aborted = None  # the error that ends it, once it was cancelled
    on_abort = None
    answered = False
    stream = None
    rtensors = None  # where the tensors that it returns stay, for a call with `remote`
    kept = ()  # ids of those
    demand = 0
    timer = None
    due = None  # (time, milliseconds from the start) of a deadline that is far away

    def __init__(self, route, sequence, method, wants_stream, oneway, size):
        self.route, self.sequence, self.method = route, sequence, method
        self.calls, self.where = route.host.calls, route.host.where
        self.wants_stream, self.oneway, self.size = wants_stream and not oneway, oneway, size
        self.shown = method
        with self.calls.lock:
            self.calls.queued += 1
            self.calls.queued_bytes += size

    def take_in(self, args):
        """The decoded arguments."""
        self.args = args
        if self.method in ("call", "call_stored") and isinstance(args.get("method"), str):
            self.shown = args["method"][:80]

    def queue(self):
        """Complete, and waiting for the main thread."""
        with self.calls.lock:
            if self.state == ARRIVING:
                self.state = QUEUED

    def take_args(self):
        """The arguments, once, for the main thread: nothing here holds them while the method runs. Raises DecodeError."""
        parts, self.parts = self.parts, None
        if parts is not None:
            if not tensor.searched:
                tensor.find_numpy()
            self.take_in(as_map(wire.decode(parts, True)))
        args, self.args = self.args, None
        return args

    def watch(self, act):
        """Calls `act`, once, when the call is aborted; now if it is already."""
        with self.calls.lock:
            self.on_abort = act
            late = self.aborted is not None
        if late:
            act()

    def start(self):
        """From waiting to running; False when it was answered meanwhile."""
        with self.calls.lock:
            if self.state == DONE:
                return False
            self._leave_queue()
            self.state = RUNNING
            self.calls.running[self] = time.monotonic()
            return True

    def _settle(self):
        """To done, once: True for whoever may answer."""
        with self.calls.lock:
            if self.state == RUNNING:
                self.calls.running.pop(self, None)
            elif self.state != DONE:
                self._leave_queue()
            self.state = DONE
            first, self.answered = not self.answered, True
            self.args = self.parts = self.on_abort = None
            return first

    def _leave_queue(self):
        self.calls.queued -= 1
        self.calls.queued_bytes -= self.size

    def encode(self, box, root="result"):
        """`wire.encode` of what it returns or yields."""
        return self._gather(box, root).seal()

    def _gather(self, box, root="result"):
        """`wire.gather` of it; tensors stay here and their references go, where the caller wants that."""
        if self.rtensors is not None:
            value, ids = self.rtensors.keep(box.pop(), self.engine.name, root)
            self.kept = (*self.kept, *ids)
            box = [value]
            del value
        return wire.gather(box, root)

    def _free_kept(self):
        """Nobody hears of these tensors."""
        if self.kept:
            self.rtensors.free(self.kept)

    def reply(self, box):
        """Answers with the value in the list `box`, which is emptied (see `wire.encode`); a value that cannot cross fails the call."""
        data = None if self.rtensors is not None or self.stream is not None else wire.brief(box[0])
        if data is not None:
            if self._settle():
                self._send(REPLY, [data])
            return
        try:
            sink = self._gather(box)
            if self.method == "call_stored" and self.stream is None and sum(map(len, sink.parts)) > INLINE_OBJECT_BYTES:
                self._reply_stored(sink)
                return
            parts = sink.seal()
        except HostError as error:
            self.fail(error)
            return
        except Exception as error:  # reading a user's object may do anything: a device error, no memory
            self.fail(EngineFailure("NOT_SERIALISABLE", error, {"method": self.shown}, "the result cannot be sent"))
            return
        if self.stream is not None:
            self.end(parts)
        elif self._settle():
            self._send(REPLY, parts)
        else:
            self._free_kept()

    def _reply_stored(self, sink):
        """
        Answers that the result waits here. An array that the engine goes on holding is written from its own memory: until that is done the main
        thread runs no user code. Where it must not wait, or has waited too long, the array is copied.
        """
        host, line = self.route.host, self.route.line
        lends = host.runner.may_wait() and sink.shared_bytes() >= LENT_BYTES
        if not lends:
            sink.seal()
        token, parts = host.results.keep(sink, line)
        if not self._settle():
            host.results.drop(token)
            self._free_kept()
            return
        self._send(REPLY, parts)
        if lends:
            host.runner.wait_while(lambda: host.results.waits(token), LENT_SECONDS)
            with host.link.turn:
                host.results.seal(token)

    def reply_parts(self, parts):
        """Answers with parts that were made before."""
        if self._settle():
            self._send(REPLY, parts)

    def end(self, parts):
        """Ends a stream; `parts` is the generator's return value, or empty."""
        if self._settle():
            self.stream.end(parts)

    def fail(self, error):
        """Answers with an error. Items that a stream has buffered go out before it when user code failed, else they are dropped."""
        if self.stream is None:
            self._free_kept()
        if self._settle():
            body = error_bytes(error, self.where, wire.pack)
            if self.stream is not None:
                self.stream.fail(body, getattr(error, "code", None) in _DROPPING)
            else:
                self._send(ERROR, [body])

    def _send(self, kind, parts):
        route = self.route
        if self.oneway:
            route.link.call_soon(route.forget, self.sequence)
        else:
            route.link.call_now(route.answer, kind, self.sequence, parts)

    def open_stream(self, settings):
        """The stream that this call's items go through."""
        route = self.route
        stream = Stream(
            self.sequence, self.demand, settings.stream_buffer_bytes, settings.stream_stall_ms, lambda: route.link.call_soon(route.send, stream)
        )
        self.stream = stream
        if self.aborted is not None:
            stream.abort(self.aborted)
        return stream

    def abort(self, error, answer_now=False):
        """Cancels it, from the I/O thread. What waits never runs; what runs is told, and answers itself unless `answer_now`."""
        with self.calls.lock:
            waits, runs = self.state < RUNNING, self.state == RUNNING
            act = self.on_abort if runs and self.aborted is None else None  # a second cancel would hit a task's clean-up
            if runs and self.aborted is None:
                self.aborted = error
        if waits:
            self.fail(error)
            self.route.hand_on()
        elif runs:
            stream = self.stream
            if answer_now:
                self._answer_only(error)
            if stream is not None:
                stream.abort(error)
            if act is not None:
                act()
        elif self.stream is not None and not self.stream.done:
            self.stream.fail(error_bytes(error, self.where, wire.pack), drop=True)

    def _answer_only(self, error):
        """The deadline's answer; the method itself goes on until it notices."""
        with self.calls.lock:
            first, self.answered = not self.answered, True
        if first:
            body = error_bytes(error, self.where, wire.pack)
            if self.stream is not None:
                self.stream.fail(body, drop=True)
            else:
                self._send(ERROR, [body])
