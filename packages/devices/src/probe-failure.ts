import type { Fingerprint, ProbeFailure, ProcessReport, StatsReport } from "./fingerprint.ts";
import type { ProbeEnd, ProbeOutcome } from "./probe.ts";

const CODES: Readonly<Record<ProbeEnd, string>> = {
  exited: "PROBE_FAILED",
  failed: "PROBE_FAILED",
  missing: "PROBE_MISSING",
  timeout: "PROBE_TIMEOUT",
  flooded: "PROBE_OUTPUT_LIMIT",
  aborted: "PROBE_ABORTED",
  stuck: "PROBE_STUCK",
};

/** Why a tool's outcome is of no use. */
export function failureOf(outcome: ProbeOutcome): ProbeFailure {
  return outcome.end === "exited" && outcome.exitCode === 0
    ? { code: "PROBE_UNREADABLE", message: "the tool ended well, but its output is not understood" }
    : { code: CODES[outcome.end], message: outcome.message };
}

/** What a fingerprint always has, for the plugins to fill. */
export function blankFingerprint(vendor: string, tool: string, elapsedMs: number): Fingerprint {
  return { vendor, tool, elapsedMs, state: "none", devices: [], partitions: [], unusable: [], links: [], warnings: [] };
}

export function failedStats(outcome: ProbeOutcome): StatsReport {
  return { state: "unknown", stats: [], warnings: [], elapsedMs: outcome.elapsedMs, error: failureOf(outcome) };
}

export function failedProcesses(outcome: ProbeOutcome): ProcessReport {
  return { state: "unknown", processes: [], warnings: [], elapsedMs: outcome.elapsedMs, error: failureOf(outcome) };
}

/** The answer of a vendor whose tool says nothing of this kind, or of which no such output is known. */
export function untold(
  vendor: string,
  what: string,
): { state: "unknown"; warnings: []; elapsedMs: 0; error: ProbeFailure } {
  const error = { code: "PROBE_UNSUPPORTED", message: `${what} of ${vendor} devices cannot be asked for` };
  return { state: "unknown", warnings: [], elapsedMs: 0, error };
}
