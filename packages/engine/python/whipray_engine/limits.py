"""Limits of the wire (PROTOCOL.md, "Limits") and of this process. Sizes in bytes, times in milliseconds unless the name says otherwise."""

PROTOCOL_VERSION = 1
PREFIX_BYTES = 20
MAX_FRAME_BYTES = 524_288
MAX_HEADER_BYTES = 65_535
INLINE_BYTES = 65_536
CHUNK_BYTES = 262_144
MAX_BODY_BYTES = 67_108_864
MAX_MESSAGE_BYTES = 17_179_869_184
MAX_PARTS = 4_096
MAX_DEPTH = 64
INLINE_TENSOR_BYTES = 4_096
MAX_ROUTES_PER_LINK = 65_536
ROUTE_WINDOW_BYTES = 4_194_304
HANDSHAKE_TIMEOUT_MS = 10_000
SESSION_RESUME_MS = 30_000
UNKNOWN_FRAMES_LIMIT = 10
STREAM_DEMAND = 64

BULK_RESERVE_BYTES = 131_072
"""Credit of a route that chunks never use, so that a small reply passes a stalled large one."""
BULK_MESSAGES_LIMIT = 64
"""Chunked messages of a route that are under way at once; the receiver has to hold them all."""
SMALL_BYTES = 4_096
"""Answers up to this size are joined with their prefix, arguments decoded without a scan before."""
HELD_BYTES = 65_536
"""So much of answers waits for the next calls, at most, when those are known to be quick."""
CALLER_LINES_LIMIT = 64
"""Doors and connections of callers that came in by one, at the same time."""
DOOR_MS = 10_000
"""A door that nobody used is closed after this."""
CACHED_HEADERS = 256
CACHED_HEADER_BYTES = 64
QUEUED_CALLS_LIMIT = 10_000
"""Calls that wait for the main thread; one more is answered BUSY."""
QUEUED_BYTES_LIMIT = 1_073_741_824
"""Bytes of arguments that wait; once exceeded, further calls are answered BUSY."""
OUTBOUND_BYTES_LIMIT = 1_073_741_824
"""Bytes of replies that wait for credit; above, the main thread starts no further call."""
ASYNC_CALLS_LIMIT = 1_000
"""Async calls that run at the same time; later ones wait in the queue."""
THREADS_LIMIT = 1_000
"""`maxConcurrency` of a class without an `async def`: so many threads run its methods."""
STREAM_BUFFER_BYTES = 8_388_608
STREAM_STALL_MS = 60_000
ERROR_TEXT_CHARS = 131_072
ERROR_CAUSES = 8
ENGINE_NAME_CHARS = 256
PORTS_A_CALL = 1_024
INLINE_OBJECT_BYTES = 102_400
"""Results above this go into the node's object store, where the caller's side has one."""
KEPT_RESULTS_LIMIT = 10_000
"""Results that wait to be written there."""
WRITER_MAPPINGS_LIMIT = 16
"""Segments that stay mapped for writing: warm pages are three times as fast."""
LENT_BYTES = 4_194_304
"""Such results, of memory that the engine goes on holding, are written to the store from there, without a copy before."""
LENT_SECONDS = 0.1
"""So long the main thread waits for that, at most."""
TENSORS_A_FETCH = 32
"""Kept tensors that one `fetch_tensors` may ask for (AReaL: shards of one /data/batch request)."""
KEPT_TENSORS_LIMIT = 100_000
"""Tensors that stay here for others to fetch; one more fails its call."""
KEPT_BYTES = 17_179_869_184
"""Bytes of these tensors, unless WHIPRAY_RTENSOR_BYTES says otherwise."""
QUICK_SECONDS = 0.0005
"""A method that took no longer last time is quick: the answer before it waits for its own."""
QUICK_METHODS_LIMIT = 256
FAR_DEADLINE_MS = 20_000
"""Calls whose deadline is farther have no timer of their own until it is nearer."""
AWAKE_SECONDS = 0.000_06
"""So long the main thread looks for the next call before it sleeps, while calls come within CLOSE_SECONDS of each other."""
CLOSE_SECONDS = 0.000_2
LEAD_TICK_SECONDS = 0.002
"""So long the main thread may run a method before the I/O thread serves the link in its place."""
LEAD_TICKS_IDLE = 25
"""After so many ticks without a call the I/O thread sleeps until the next one."""
SHUTDOWN_GRACE_MS = 10_000
MAX_TIMER_MS = 2_000_000_000
"""Longer deadlines (23 days) are as good as none."""
