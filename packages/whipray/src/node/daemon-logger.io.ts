import { type LogFields, type Logger, redact } from "@whipray/core";
import { destination, type Logger as Pino, pino } from "pino";
import { DAEMON_LOG_VARIABLE, type LineSink, RotatedLog } from "./daemon-log.io.ts";

const LEVELS = ["trace", "debug", "info", "warn", "error"];

/**
 * JSON lines on stderr, written before the call returns: the last words of a process that dies are there. Values under
 * secret-looking keys are redacted. Least level: WHIPRAY_LOG_LEVEL, default `info`. A log file that was opened for it does not grow without bound.
 */
export function daemonLogger(bound: LogFields): Logger {
  const asked = process.env["WHIPRAY_LOG_LEVEL"] ?? "info";
  const level = LEVELS.includes(asked) ? asked : "info";
  return loggerOn(pino({ level, base: null }, sink()).child(redact(bound)));
}

function sink(): LineSink {
  const stderr = destination({ fd: 2, sync: true });
  const file = process.env[DAEMON_LOG_VARIABLE];
  return file === undefined ? stderr : new RotatedLog(stderr, 2, file);
}

function loggerOn(sink: Pino): Logger {
  return {
    trace: (message, fields) => sink.trace(redact(fields ?? {}), message),
    debug: (message, fields) => sink.debug(redact(fields ?? {}), message),
    info: (message, fields) => sink.info(redact(fields ?? {}), message),
    warn: (message, fields) => sink.warn(redact(fields ?? {}), message),
    error: (message, fields) => sink.error(redact(fields ?? {}), message),
    child: (fields) => loggerOn(sink.child(redact(fields))),
  };
}
