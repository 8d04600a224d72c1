import { WhiprayError } from "./errors.ts";

/**
 * Amounts of resources in fixed point, as Ray counts them (ray.md section 4): whole units of 1/10 000, so that
 * 0.3 + 0.3 + 0.4 is exactly 1. Memory is counted in whole bytes: in 1/10 000 of a byte, 1 TB would not fit a double.
 */
export type Units = number;
/** Resource name → units. Names with zero units are absent. */
export type ResourceUnits = Readonly<Record<string, Units>>;
/** Resource name → amount as people write it: `{ CPU: 0.5, GPU: 1, memory: 2 ** 30 }`. */
export type ResourceAmounts = Readonly<Record<string, number>>;

/** Units of one CPU, GPU or custom resource. */
export const UNITS_PER_ONE = 10_000;
/** Largest amount of one resource, as in Ray; of what is counted in 1/10 000 `LARGEST_UNITS`. */
export const LARGEST_AMOUNT = 100e12;
/** Above this, units made to an amount and back would not be the same ones: a double has 53 bits. */
const LARGEST_UNITS = 2 ** 50;
const BYTE_RESOURCES = new Set(["memory", "object_store_memory"]);
/** Resources that exist as single devices: a fraction never spans two, above 1 only whole numbers (ray.md section 4). */
export const DEVICE_RESOURCES: ReadonlySet<string> = new Set([
  "GPU",
  "NPU",
  "TPU",
  "HPU",
  "neuron_cores",
  "RBLN",
  "FURIOSA",
  "TTNPU",
  "MBLT",
]);
/** Of these a process gets whole devices only (Ray: `validate_resource_request_quantity`). */
export const WHOLE_RESOURCES: ReadonlySet<string> = new Set([
  "TPU",
  "HPU",
  "neuron_cores",
  "RBLN",
  "FURIOSA",
  "TTNPU",
  "MBLT",
]);
/** Amounts of a resource that one process may get, where not every whole number works (ray.md section 5). */
export const PROCESS_AMOUNTS: ReadonlyMap<string, readonly number[]> = new Map([["TPU", [1, 2, 4, 8]]]);
/** Binary error of an amount times its scale that is forgiven: of small ones in units, of large ones as a share. */
const SMALL_ERROR = 1e-7;
const RELATIVE_ERROR = 2 * Number.EPSILON;
const NAME_PATTERN = /^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$/;
/** Different resources that one request may name. */
export const RESOURCE_KINDS_LIMIT = 64;

/** Units of one whole of this resource: 1 for bytes, else 10 000. */
export function scaleOf(name: string): number {
  return BYTE_RESOURCES.has(name) ? 1 : UNITS_PER_ONE;
}

/**
 * Checks and converts what a user asked for. Zero amounts are dropped (Ray: harmless), fractions truncate toward zero.
 * @throws WhiprayError `INVALID_RESOURCES` naming resource, value and rule (reliability B19, B20).
 */
export function toUnits(amounts: unknown, what = "resources"): ResourceUnits {
  if (typeof amounts !== "object" || amounts === null || Array.isArray(amounts)) {
    throw invalid(what, undefined, amounts, "must be an object such as { CPU: 1, GPU: 1 }");
  }
  const entries = Object.entries(amounts);
  if (entries.length > RESOURCE_KINDS_LIMIT) {
    throw invalid(what, undefined, entries.length, `names more than ${RESOURCE_KINDS_LIMIT} resources`);
  }
  const units: Record<string, Units> = {};
  for (const [name, amount] of entries) {
    const value = oneToUnits(name, amount, what);
    if (value > 0) units[name] = value;
  }
  return units;
}

function oneToUnits(name: string, amount: unknown, what: string): Units {
  if (name === "bundle") throw invalid(what, name, amount, "is a reserved resource name");
  if (!NAME_PATTERN.test(name) || name in Object.prototype) {
    throw invalid(what, name.slice(0, 128), amount, "is not a resource name (letters, digits, _ . : / -, at most 128)");
  }
  if (typeof amount !== "number" || !Number.isFinite(amount))
    throw invalid(what, name, amount, "must be a finite number");
  if (amount < 0) throw invalid(what, name, amount, "must not be negative");
  const scale = scaleOf(name);
  const largest = Math.min(LARGEST_AMOUNT, Math.floor(LARGEST_UNITS / scale));
  if (amount > largest) throw invalid(what, name, amount, `is above the limit of ${largest}`);
  // The small addend undoes the binary error of products such as 0.0003 * 10 000 = 2.9999999999999996; that error grows with them.
  const product = amount * scale;
  const units = Math.floor(product + Math.max(SMALL_ERROR, product * RELATIVE_ERROR));
  if (amount > 0 && units === 0) throw invalid(what, name, amount, `is below the smallest amount ${1 / scale}`);
  if (DEVICE_RESOURCES.has(name) && units > UNITS_PER_ONE && units % UNITS_PER_ONE !== 0) {
    throw invalid(what, name, amount, "must be a whole number above 1: a fraction never spans two devices");
  }
  if (WHOLE_RESOURCES.has(name) && units % UNITS_PER_ONE !== 0) {
    throw invalid(what, name, amount, "must be a whole number: its devices cannot be shared");
  }
  return units;
}

/**
 * What an actor or a task asks for: a bundle may hold any number of devices, one process not (Ray: `validate_resource_request_quantity`).
 * @throws WhiprayError `INVALID_RESOURCES` with the amounts that there are.
 */
export function toProcessUnits(amounts: unknown, what = "resources"): ResourceUnits {
  const units = toUnits(amounts, what);
  for (const [name, allowed] of PROCESS_AMOUNTS) {
    const amount = (units[name] ?? 0) / UNITS_PER_ONE;
    if (amount > 0 && !allowed.includes(amount)) {
      throw invalid(what, name, amount, `is given to one process as ${allowed.join(", ")} only`);
    }
  }
  return units;
}

function invalid(what: string, name: string | undefined, value: unknown, rule: string): WhiprayError {
  const shown = typeof value === "object" && value !== null ? Object.prototype.toString.call(value) : String(value);
  return new WhiprayError({
    code: "INVALID_RESOURCES",
    message: `${what}${name === undefined ? "" : `: ${name}`} ${rule}; got ${shown.slice(0, 100)}`,
    details: { what, resource: name, value: shown.slice(0, 100) },
  });
}

/** Units back as people write them. */
export function toAmounts(units: ResourceUnits): Record<string, number> {
  return Object.fromEntries(Object.entries(units).map(([name, value]) => [name, value / scaleOf(name)]));
}

/** Amount of one resource as text: `0.5 GPU`, `2 CPU`, `3.0 GiB memory`. */
export function showAmount(name: string, units: Units): string {
  if (BYTE_RESOURCES.has(name))
    return units >= 2 ** 30 ? `${(units / 2 ** 30).toFixed(1)} GiB ${name}` : `${units} B ${name}`;
  return `${units / UNITS_PER_ONE} ${name}`;
}

/** Whether `have` covers `need` in every resource (as scalars; single devices are the ledger's business). */
export function covers(have: ResourceUnits, need: ResourceUnits): boolean {
  for (const name in need) if ((have[name] ?? 0) < need[name]!) return false;
  return true;
}

export function addUnits(left: ResourceUnits, right: ResourceUnits): Record<string, Units> {
  const sum: Record<string, Units> = { ...left };
  for (const name in right) sum[name] = (sum[name] ?? 0) + right[name]!;
  return sum;
}

/** `left − right`; a resource that comes to zero is dropped, one below zero stays visible as negative. */
export function subtractUnits(left: ResourceUnits, right: ResourceUnits): Record<string, Units> {
  const rest: Record<string, Units> = { ...left };
  for (const name in right) {
    const value = (rest[name] ?? 0) - right[name]!;
    if (value === 0) delete rest[name];
    else rest[name] = value;
  }
  return rest;
}

/** What `need` asks beyond `have`, per resource; empty when it fits. */
export function shortfall(have: ResourceUnits, need: ResourceUnits): Record<string, Units> {
  const missing: Record<string, Units> = {};
  for (const name in need) {
    const short = need[name]! - (have[name] ?? 0);
    if (short > 0) missing[name] = short;
  }
  return missing;
}

export function isEmpty(units: ResourceUnits): boolean {
  for (const name in units) if (units[name] !== 0) return false;
  return true;
}
