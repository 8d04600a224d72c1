import { RayTaskError, type WhiprayError } from "@whipray/core";
import type { ActorRow, MethodRules } from "@whipray/rpc";
import { checkKeys, whole } from "./actor-options.ts";
import type { ActorMethodOptions, MethodDefaults } from "./actor-types.ts";
import { isCancelled } from "./cancelling.ts";
import type { Submission } from "./submission.ts";

const DEFAULTS: readonly (keyof MethodDefaults)[] = ["concurrencyGroup", "maxTaskRetries", "retryExceptions"];
const DEFAULT_KEYS: ReadonlySet<string> = new Set(DEFAULTS);
const CALL_KEYS: ReadonlySet<string> = new Set([...DEFAULTS, "signal", "timeoutMs"]);
const ANY_ERROR = "*";

/** @throws WhiprayError `INVALID_ARGUMENT` for what is no option of a call. */
export function checkMethodOptions(options: ActorMethodOptions): void {
  checkKeys(options, CALL_KEYS, "a method");
  if (options.maxTaskRetries !== undefined) whole("maxTaskRetries", options.maxTaskRetries, -1);
}

/** What an actor's `methods` say, as the head keeps it. @throws WhiprayError `INVALID_ARGUMENT`. */
export function methodRules(methods: Readonly<Record<string, MethodDefaults>>): Record<string, MethodRules> {
  return Object.fromEntries(
    Object.entries(methods).map(([method, defaults]) => {
      checkKeys(defaults, DEFAULT_KEYS, `method ${method.slice(0, 64)}`);
      const { concurrencyGroup, maxTaskRetries, retryExceptions } = defaults;
      const rules: MethodRules = {
        ...(concurrencyGroup !== undefined && { concurrencyGroup }),
        ...(maxTaskRetries !== undefined && { maxTaskRetries: whole("maxTaskRetries", maxTaskRetries, -1) }),
        ...(retryExceptions !== undefined && { retryExceptions: [...errorNames(retryExceptions)] }),
      };
      return [method, rules];
    }),
  );
}

/** Looks up what a call may risk: the call says it, else its method's rules, else its actor's options (ray.md 3.2). */
export function applyRules(submission: Submission, row: ActorRow | undefined): void {
  const { method, options } = submission;
  const rules = row?.methods && Object.hasOwn(row.methods, method) ? row.methods[method] : undefined;
  submission.retries = options.maxTaskRetries ?? rules?.maxTaskRetries ?? row?.maxTaskRetries ?? 0;
  const on = options.retryExceptions === undefined ? rules?.retryExceptions : errorNames(options.retryExceptions);
  if (on && on.length > 0) submission.retryOn = on;
}

/** Whether another execution may be risked; counts it. Cancelled calls never (Ray). */
export function takeRetry(submission: Submission): boolean {
  if (submission.retries === 0 || isCancelled(submission.options)) return false;
  if (submission.retries > 0) submission.retries--;
  return true;
}

/** Whether this error of the user's code is one that its method is retried for. */
export function isRetried({ retryOn }: Submission, error: WhiprayError): boolean {
  return (
    retryOn !== undefined &&
    error instanceof RayTaskError &&
    (retryOn.includes(ANY_ERROR) || retryOn.includes(error.remoteName))
  );
}

function errorNames(retry: boolean | readonly string[]): readonly string[] {
  if (typeof retry === "boolean") return retry ? [ANY_ERROR] : [];
  return retry;
}
