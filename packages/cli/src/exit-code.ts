import { asWhiprayError } from "@whipray/core";

/** What `whipray` ends with (docs/cluster.md). */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  unauthorised: 4,
  unreachable: 5,
  timedOut: 124,
} as const;

const CODES: Readonly<Record<string, number>> = {
  UNAUTHENTICATED: EXIT.unauthorised,
  FORBIDDEN: EXIT.unauthorised,
  CLUSTER_FILE_UNSAFE: EXIT.unauthorised,
  TLS_KEY_UNSAFE: EXIT.unauthorised,
  TLS_PIN_MISMATCH: EXIT.unauthorised,
  TLS_UNTRUSTED: EXIT.unauthorised,
  TLS_CERT_EXPIRED: EXIT.unauthorised,
  TLS_CERT_NOT_YET_VALID: EXIT.unauthorised,
  UNREACHABLE: EXIT.unreachable,
  NO_ADDRESS: EXIT.unreachable,
  HEAD_SILENT: EXIT.unreachable,
  TLS_REQUIRED: EXIT.unreachable,
  TLS_NOT_SPOKEN: EXIT.unreachable,
  NOT_FOUND: EXIT.notFound,
  NO_ROUTE: EXIT.notFound,
  TIMEOUT: EXIT.timedOut,
  DEADLINE_EXCEEDED: EXIT.timedOut,
  USAGE: EXIT.usage,
  AMBIGUOUS: EXIT.usage,
  INSECURE_BIND: EXIT.usage,
  INSECURE_ADDRESS: EXIT.usage,
};

/** An error's exit code. Every `INVALID_…` is the user's input: usage. */
export function exitCodeOf(error: unknown): number {
  const { code } = asWhiprayError(error);
  if (code.startsWith("INVALID_")) return EXIT.usage;
  return CODES[code] ?? EXIT.failed;
}
