import { WhiprayError } from "@whipray/core";

/** Bytes of one value, and of a whole environment that a caller may give (Linux: 128 KiB a string, about 2 MiB in all). */
export const ENV_VALUE_LIMIT_BYTES = 131_000;
export const ENV_TOTAL_LIMIT_BYTES = 1_048_576;
/** Variables that belong to Whipray. */
export const OWN_PREFIX = "WHIPRAY_";

const NAME = /^[A-Za-z_][A-Za-z0-9_.()-]{0,254}$/;
// A Node worker runs our code: whoever sets these runs code in it, or replaces the programs that it starts.
const REFUSED_FOR_WORKERS = new Set(["LD_PRELOAD", "LD_AUDIT", "PATH", "PYTHONPATH"]);

/**
 * Checks what a user wants in an environment (reliability B26). Engines may set LD_PRELOAD, PATH and PYTHONPATH, workers not.
 * @throws WhiprayError `INVALID_ENV` naming the variable and the rule, never its value: it may be a secret.
 */
export function checkEnvironment(env: Readonly<Record<string, string>>, target: "worker" | "engine"): void {
  let totalBytes = 0;
  for (const [name, value] of Object.entries(env)) {
    const bytes = Buffer.byteLength(value);
    totalBytes += Buffer.byteLength(name) + bytes + 2;
    if (!NAME.test(name)) throw invalid(name, "is not a variable name (letters, digits, _; no '=', NUL or newline)");
    if (value.includes("\0")) throw invalid(name, "has a value with a NUL character");
    if (bytes > ENV_VALUE_LIMIT_BYTES) throw invalid(name, `has ${bytes} bytes; the limit is ${ENV_VALUE_LIMIT_BYTES}`);
    if (name.startsWith(OWN_PREFIX)) throw invalid(name, `belongs to Whipray: names from ${OWN_PREFIX} on are its own`);
    if (target === "worker" && REFUSED_FOR_WORKERS.has(name)) {
      throw invalid(name, "is refused for a Node worker, which runs our code; set it for the engine instead");
    }
  }
  if (totalBytes > ENV_TOTAL_LIMIT_BYTES) {
    throw invalid("(all)", `together have ${totalBytes} bytes; the limit is ${ENV_TOTAL_LIMIT_BYTES}`);
  }
}

function invalid(name: string, rule: string): WhiprayError {
  const shown = JSON.stringify(name.slice(0, 80));
  return new WhiprayError({
    code: "INVALID_ENV",
    message: `environment variable ${shown} ${rule}`,
    details: { name: name.slice(0, 80) },
  });
}
