export {
  BYTE_STREAM_IDLE_MS,
  BYTE_STREAMS_LIMIT,
  type ByteFetcher,
  type ByteStream,
} from "./bytes/byte-stream.ts";
export * from "./call.ts";
export { decodeControl, decodeValues, encodeControl, encodeValues } from "./codec.ts";
export type { Revive } from "./decoder.ts";
export { type DialTransportOptions, dialTransport } from "./dial-transport.ts";
export { DIAL_TIMEOUT_MS } from "./dialing.ts";
export { type EndpointOptions, type RouteVia, WireEndpoint } from "./endpoint/endpoint.ts";
export { FAILED_TRIES_LIMIT, FAILED_TRY_DELAY_MS, FailedTries } from "./failed-tries.ts";
export * from "./fields.ts";
export {
  encodeFrame,
  encodePrefix,
  FLAG,
  type Frame,
  frameFlags,
  frameHeaderLength,
  frameKind,
  frameLength,
  frameRoute,
  frameSequence,
  KIND,
  type Kind,
  parseFrame,
  rewriteRoute,
} from "./frame.ts";
export { FrameSplitter } from "./frame-splitter.ts";
export { CLOSE_TIMEOUT_MS } from "./framed-channel.ts";
export * from "./limits.ts";
export type { Hello, LinkIdentity } from "./link/handshake.ts";
export { type MemoryFaults, MemoryNetwork, seededFaults } from "./memory-transport.ts";
export * from "./messages/actor.ts";
export * from "./messages/event.ts";
export * from "./messages/group.ts";
export * from "./messages/job.ts";
export * from "./messages/node.ts";
export * from "./messages/object.ts";
export * from "./messages/process.ts";
export * from "./messages/resources.ts";
export * from "./messages/runtime-env.ts";
export * from "./messages/task.ts";
export * from "./messages/task-state.ts";
export * from "./messages/terminal.ts";
export { ActorHandleWire, ObjectRefWire, StoredWire, TO_WIRE } from "./object-ref.ts";
export {
  type Member,
  openPackage,
  PACKAGE_FILES_LIMIT,
  PACKAGE_LIMIT_BYTES,
  type Package,
  packageTooLarge,
  packMembers,
  UNPACKED_LIMIT_BYTES,
} from "./package/archive.ts";
export { MEMBER_PATH_LIMIT, memberProblem } from "./package/member-names.ts";
export { ownPidNamespace } from "./pid-namespace.io.ts";
export { ProcessWatch, type ProcessWatchOptions, processName } from "./process-watch.ts";
export { type ScanOptions, scan } from "./scanner.ts";
export { encodeStored, mayHaveHandles, storedOf } from "./stored.ts";
export { DTYPE_BYTES, type Dtype, MAX_TENSOR_DIMENSIONS, Tensor, type TypedArray } from "./tensor.ts";
export type { KeyedCertificate, ServerCertificate } from "./tls/certificate.ts";
export { certificates } from "./tls/certificates.ts";
export { PIN_PATTERN, pinIn, withoutPin, withPin } from "./tls/pinned-url.ts";
export { newClusterSecret, roleToken, tokenDigest, tokenMatches } from "./token.ts";
export * from "./transport.ts";
export { listenUnix, UNIX_PATH_BYTES, unixTransport } from "./unix-transport.ts";
export { byteFetcher, listenWebSocket, webSocketTransport } from "./websocket.ts";
export type { WebSocketListenOptions } from "./websocket-listener.ts";
export type { WebSocketTransportOptions } from "./websocket-transport.ts";
