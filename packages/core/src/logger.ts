/** What a log line may carry beside its text. Values under secret-looking keys are redacted by the sinks. */
export type LogFields = Record<string, unknown>;

/** Libraries take a Logger and are silent by default; daemons give pino. */
export interface Logger {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger;
}

/** Says nothing. */
export const silentLogger: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
};

const SECRET_KEY = /token|secret|password|passwd|authorization|api[-_]?key|credential/i;
const REDACT_DEPTH = 8;

/** A copy of `fields` in which values under secret-looking keys are `[redacted]` (reliability P19). */
export function redact(fields: LogFields, depth = 0): LogFields {
  const copy: LogFields = {};
  for (const [key, value] of Object.entries(fields)) {
    if (SECRET_KEY.test(key)) copy[key] = "[redacted]";
    else if (isPlain(value) && depth < REDACT_DEPTH) copy[key] = redact(value, depth + 1);
    else copy[key] = value;
  }
  return copy;
}

function isPlain(value: unknown): value is LogFields {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
