"""A route of the link: the calls of one caller in the order of their sequences, and credit in both directions. I/O thread only."""

from collections import deque
from time import monotonic

from . import wire
from .assembly import Assembly, Whole, part_lengths, too_large
from .call import Call
from .errors import Cancelled, DecodeError, HostError, ProtocolError
from .frame import ACK, CANCEL, CHUNK, CHUNKED, CREDIT, DEMAND, FROM_CALLEE, ONEWAY, PREFIX, REQUEST, STREAM, U32, USES_CREDIT, frame
from .limits import BULK_MESSAGES_LIMIT, CACHED_HEADER_BYTES, CACHED_HEADERS, FAR_DEADLINE_MS, PREFIX_BYTES, ROUTE_WINDOW_BYTES, SMALL_BYTES
from .message import Message


class Route:
    def __init__(self, line, host, number):
        self.line, self.link, self.host, self.number = line, line.link, host, number
        self.credit = ROUTE_WINDOW_BYTES  # what we may send
        self.taken = 0  # what we received and have not granted again
        self.last = 0  # the highest sequence that came
        self.headers = {}
        self.deadlines = 0  # among them
        self.watches = False  # a timer is set for deadlines that are far away
        self.calls = {}
        self.uploads = {}
        self.order = deque()  # calls that the main thread has not been given yet
        self.ready = deque()  # messages and streams that have frames to send
        self.listed = set()
        self.bulk = set()  # messages whose chunks are going out
        self.stuck = False  # nothing of `ready` fits into the credit
        self.closed = False

    # --- receiving ---------------------------------------------------------------------------------------------------------------

    def receive(self, kind, flags, sequence, header, body):
        """Takes one frame; False when it makes no sense here."""
        if kind in USES_CREDIT:
            self.taken += PREFIX_BYTES + len(header) + len(body)
            if self.taken >= ROUTE_WINDOW_BYTES // 4:
                self._grant()
        if kind == CHUNK:
            return self._chunk(flags, sequence, body)
        if kind == REQUEST or kind == ONEWAY:
            return self._request(kind, flags, sequence, header, body)
        if kind == CANCEL:
            if sequence in self.calls:
                self.calls[sequence].abort(Cancelled())
            return sequence <= self.last
        if kind == CREDIT and len(body) == 4:
            self.credit += U32.unpack(body)[0]
            self.stuck = False
            self.line.has_frames(self)
            return True
        if kind == DEMAND and len(body) in (4, 8):
            call = self.calls.get(sequence)
            if call is not None:
                call.demand = max(call.demand, U32.unpack(body[:4])[0])
                if call.stream is not None:
                    call.stream.demand = max(call.stream.demand, call.demand)
                    self.send(call.stream)
            return sequence <= self.last
        return kind == ACK  # nothing to forget: sessions of engines do not resume

    def _grant(self):
        self.line.control(frame(CREDIT, self.number, b"", U32.pack(self.taken)))
        self.taken = 0

    def _request(self, kind, flags, sequence, header, body):
        oneway = kind == ONEWAY
        if sequence <= self.last and not (oneway and sequence == 0 and not flags & CHUNKED):
            return False
        self.last = max(self.last, sequence)
        head_data = bytes(header)
        head = self.headers.get(head_data) or self._call_header(sequence, head_data)
        chunked = flags & CHUNKED
        method, size = head.get("m"), len(body)
        # Of one part in its own frame, which no limit of messages can be below.
        lengths = None if not chunked and "p" not in head else part_lengths(head, chunked, size)
        call = Call(self, sequence, method if isinstance(method, str) else "", bool(flags & STREAM), oneway, size if lengths is None else sum(lengths))
        if not oneway:
            self.calls[sequence] = call
        error = self._refusal(call, head, lengths)
        if error is None and "d" in head:
            error = self._set_deadline(call, head["d"])
        if error is not None:
            call.fail(error)
        whole = lengths is None or len(lengths) == 1 and not chunked
        if whole and error is None and not self.order and call.method not in self.host.immediate:
            self.host.submit(call, [bytes(body)])
            return True
        self.order.append(call)
        if whole:
            call.assembly = Whole(bytes(body))
        else:
            call.assembly = self._assembly(call, lengths)
            if chunked:
                self.uploads[sequence] = call
            call.assembly.feed(body)
        self._arrived(call)
        return True

    def _assembly(self, call, lengths):
        try:
            return Assembly(lengths, keep=not call.answered)
        except (OSError, MemoryError) as error:
            call.fail(HostError("OUT_OF_MEMORY", "no memory for arguments of %d bytes: %s" % (sum(lengths), error), retryable=True))
            return Assembly(lengths, keep=False)

    def _call_header(self, sequence, data):
        """Calls that say nothing but their method have the same bytes each time: they are decoded once."""
        try:
            head = wire.decode_map(data)
        except DecodeError as error:
            raise ProtocolError(error.code, "header of call %d: %s" % (sequence, error)) from None
        if len(data) <= CACHED_HEADER_BYTES and len(self.headers) < CACHED_HEADERS and "p" not in head and "t" not in head:
            # Callers with one time limit for all of their calls send the same header each time. Those of others must not fill the cache.
            self.deadlines += "d" in head
            if "d" not in head or self.deadlines <= CACHED_HEADERS // 2:
                self.headers[data] = head
        return head

    def _refusal(self, call, head, lengths):
        large = lengths is not None and too_large(lengths)
        if large:
            return HostError("PAYLOAD_TOO_LARGE", large)
        epoch, own = head.get("e"), self.host.settings.epoch
        if epoch is not None and own is not None and epoch != own:
            return HostError("STALE_EPOCH", "the call means epoch %r, this engine has %d" % (epoch, own), {"epoch": own})
        return self.host.refusal(call)

    def _set_deadline(self, call, remaining_ms):
        if remaining_ms is None:
            return None
        if not isinstance(remaining_ms, (int, float)) or isinstance(remaining_ms, bool) or remaining_ms != remaining_ms:
            return HostError("RANGE", "the deadline `d` must be a number of milliseconds; got %.40r" % (remaining_ms,))
        if remaining_ms <= 0:
            return _late(call, remaining_ms)
        if remaining_ms > FAR_DEADLINE_MS:
            # Hardly any call lives so long: no timer for each.
            call.due = (monotonic() + remaining_ms / 1000, remaining_ms)
            if not self.watches:
                self.watches = True
                self.link.timers.at(FAR_DEADLINE_MS / 2, self._look_at_deadlines)
        else:
            call.timer = self.link.timers.at(remaining_ms, self._expire, call, remaining_ms)
        return None

    def _look_at_deadlines(self):
        """Those that have come near get timers of their own."""
        self.watches, now = False, monotonic()
        for call in list(self.calls.values()):
            if call.due is None:
                continue
            at, whole_ms = call.due
            left_ms = (at - now) * 1000
            if left_ms > FAR_DEADLINE_MS:
                self.watches = True
            else:
                call.due = None
                call.timer = self.link.timers.at(max(0, left_ms), self._expire, call, whole_ms)
        if self.watches:
            self.link.timers.at(FAR_DEADLINE_MS / 2, self._look_at_deadlines)

    def _expire(self, call, whole_ms):
        call.abort(_late(call, whole_ms), True)

    def _chunk(self, flags, sequence, body):
        call = self.uploads.get(sequence)
        if call is None or flags & FROM_CALLEE:
            return sequence <= self.last and not flags & FROM_CALLEE
        call.assembly.feed(body)
        self._arrived(call)
        return True

    def _arrived(self, call):
        if call.assembly.missing == 0:
            self.uploads.pop(call.sequence, None)
            call.arrived = True
            if call.answered:
                call.assembly = None
            elif call.method in self.host.immediate:
                self.host.answer(call)
        self.hand_on()

    def hand_on(self):
        """Gives the main thread what is complete, in order: a call whose chunks are still coming holds back the later ones."""
        while self.order and (self.order[0].arrived or self.order[0].answered):
            first = self.order.popleft()
            if not first.answered:
                self.host.submit(first, first.assembly.take())

    # --- sending -----------------------------------------------------------------------------------------------------------------

    def answer(self, kind, sequence, parts):
        """Sends a call's one answer. A small one, with nothing before it, is a frame at once."""
        if self.closed:
            return
        if not self.ready and len(parts) == 1 and len(parts[0]) <= SMALL_BYTES and self.credit >= PREFIX_BYTES + SMALL_BYTES and self.line.outbox.has_room:
            data = PREFIX.pack(len(parts[0]), self.number, kind, 0, 0, sequence) + parts[0]
            self.credit -= len(data)
            self.line.outbox.add(data)
            self.forget(sequence)
        else:
            message = Message(kind, sequence, None, parts)
            self.link.outbound(message.size)
            self.send(message)

    def send(self, lane):
        """Adds a message, or a stream that has something new, to what this route sends."""
        if self.closed:
            return
        if lane.sequence not in self.listed and not lane.done:
            self.listed.add(lane.sequence)
            self.ready.append(lane)
        self.stuck = False
        self.line.has_frames(self)

    def forget(self, sequence):
        """The call has ended for the wire; the rest of its upload is thrown away."""
        call = self.calls.pop(sequence, None)
        if call is not None:
            if call.timer is not None:
                self.link.timers.cancel(call.timer)
            if sequence in self.uploads:
                self.uploads[sequence].assembly.drop()

    def pull(self):
        """One frame of whoever's turn it is, as a list of buffers; None when nothing can go out now."""
        for _ in range(0 if self.stuck else len(self.ready)):
            lane = self.ready.popleft()
            may_begin = len(self.bulk) < BULK_MESSAGES_LIMIT
            frame_out = lane.pull(self.number, self.credit, may_begin)
            (self.bulk.add if lane.in_bulk else self.bulk.discard)(lane.sequence)
            if lane.done:
                self.listed.discard(lane.sequence)
                self.forget(lane.sequence)
                self.link.outbound(-getattr(lane, "size", 0))
            elif frame_out is None and lane.idle:
                self.listed.discard(lane.sequence)
            else:
                self.ready.append(lane)
            if frame_out is not None:
                buffers, size = frame_out
                self.credit -= size
                return buffers
        self.stuck = True
        return None

    def close(self, error):
        """The caller is gone: its calls are told, and nothing more is sent."""
        self.closed = True
        self.link.outbound(-sum(getattr(lane, "size", 0) for lane in self.ready))
        self.ready.clear()
        for call in list(self.calls.values()) + list(self.order):
            call.abort(error)
            call.route.forget(call.sequence)


def _late(call, remaining_ms):
    return HostError("DEADLINE_EXCEEDED", "the deadline passed after %d ms" % min(remaining_ms, 1e15), {"method": call.method})
