import { writeSync } from "node:fs";
import { type LogFields, type Logger, redact } from "@whipray/core";

/** Numbers and keys are pino's, so that its tools read these lines. */
const LEVELS = { trace: 10, debug: 20, info: 30, warn: 40, error: 50 } as const;
type Level = keyof typeof LEVELS;

/**
 * JSON lines on stderr, written before the call returns: the last words of a process that dies are there. Values under
 * secret-looking keys are redacted. Least level: WHIPRAY_LOG_LEVEL, default `info`.
 */
export function daemonLogger(bound: LogFields): Logger {
  const least = LEVELS[(process.env["WHIPRAY_LOG_LEVEL"] ?? "info") as Level] ?? LEVELS.info;
  return loggerWith(bound, least);
}

function loggerWith(bound: LogFields, least: number): Logger {
  const say = (level: Level) => (message: string, fields?: LogFields) => {
    if (LEVELS[level] < least) return;
    const line = { level: LEVELS[level], time: Date.now(), ...redact({ ...bound, ...fields }), msg: message };
    try {
      writeSync(2, `${JSON.stringify(line)}\n`);
    } catch {
      // A full disk or a closed terminal must not end the daemon.
    }
  };
  return {
    trace: say("trace"),
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    child: (fields) => loggerWith({ ...bound, ...fields }, least),
  };
}
