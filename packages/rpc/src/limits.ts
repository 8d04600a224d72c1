/** Limits of the wire (PROTOCOL.md, "Limits"). Sizes in bytes, times in milliseconds. */
export const PREFIX_BYTES = 20;
export const MAX_FRAME_BYTES = 524_288;
export const MAX_HEADER_BYTES = 65_535;
/** Messages up to this size travel in one frame. */
export const INLINE_BYTES = 65_536;
export const CHUNK_BYTES = 262_144;
/** Largest part 0 of a message. */
export const MAX_BODY_BYTES = 67_108_864;
/** Largest message, all parts together. */
export const MAX_MESSAGE_BYTES = 17_179_869_184;
export const MAX_PARTS = 4_096;
/** Nesting of msgpack containers. */
export const MAX_DEPTH = 64;
/** Tensors up to this size lie inside part 0. */
export const INLINE_TENSOR_BYTES = 4_096;
export const MAX_ROUTES_PER_LINK = 65_536;
export const ROUTE_WINDOW_BYTES = 4_194_304;
export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A link that carried nothing for this long is pinged; after three times this it is closed. */
export const LINK_IDLE_MS = 10_000;
/** Unknown frames on one link before it is closed. */
export const UNKNOWN_FRAMES_LIMIT = 10;
export const SESSION_RESUME_MS = 30_000;
export const SESSION_KEPT_REPLIES = 4_096;
export const SESSION_KEPT_BYTES = 67_108_864;
export const MAX_PENDING_CALLS = 1_000_000;
export const MAX_PENDING_BYTES = 1_073_741_824;
/** Items of a stream that may be under way before the caller asks for more. */
export const STREAM_DEMAND = 64;
export const PROTOCOL_VERSIONS: readonly [number, number] = [1, 1];
