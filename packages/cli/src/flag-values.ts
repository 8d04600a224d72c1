import { toUnits, WhiprayError } from "@whipray/core";
import { EVENTS_LIST_LIMIT } from "@whipray/rpc";

/** The environment form of a flag: of `--num-cpus` it is WHIPRAY_NUM_CPUS. */
export function environmentName(flag: string): string {
  return `WHIPRAY_${flag.slice(2).replaceAll("-", "_").toUpperCase()}`;
}

/** Parsers of flags: text in, value out. @throws WhiprayError `USAGE` naming flag, value and form (reliability B36). */

export function portOf(flag: string, least: 0 | 1) {
  return (text: string): number => wholeBetween(flag, text, least, 65_535);
}

/** A count of devices or CPUs, fractions allowed. */
export function amountOf(flag: string) {
  return (text: string): number => {
    if (!/^\d{1,15}(\.\d{1,4})?$/.test(text))
      throw usage(flag, text, "a number such as 4 or 0.5, with at most 15 digits and 4 decimals");
    return Number(text);
  };
}

/** Bytes of a unit: of 1 000 with a `B` alone, of 1 024 with `iB`, and without either, as Docker and systemd have it. */
const BYTE_POWERS = ["", "k", "m", "g", "t", "p"];

/** A size in bytes: `8589934592`, `8GiB`, `500MB`, `1.5G`. What is less than a byte is cut. */
export function bytesOf(flag: string) {
  return (text: string): number => {
    const [, amount, unit = "", suffix] = /^(\d{1,16}(?:\.\d{1,6})?) ?([kmgtp]?)(i?b|)$/i.exec(text) ?? [];
    const base = suffix?.toLowerCase() === "b" ? 1_000 : 1_024;
    const bytes = Math.floor(Number(amount ?? Number.NaN) * base ** BYTE_POWERS.indexOf(unit.toLowerCase()));
    if (!Number.isSafeInteger(bytes) || (suffix?.toLowerCase() === "ib" && unit === ""))
      throw usage(
        flag,
        text,
        "bytes such as 8589934592, 8GiB, 500MB or 1.5G (KiB, MiB, GiB, TiB, PiB and K, M, G, T, P are powers of 1024; kB, MB, GB, TB, PB of 1000), below 2^53",
      );
    return bytes;
  };
}

const TIME_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const DAY_MS = 86_400_000;

/** A time in seconds: `90`, `1.5m`, `500ms`; to the millisecond, at most a day. */
export function secondsOf(flag: string) {
  return (text: string): number => {
    const [, amount, unit = "s"] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text) ?? [];
    const ms = Math.round(Number(amount ?? Number.NaN) * TIME_UNITS_MS[unit]!);
    if (!(ms <= DAY_MS)) throw usage(flag, text, "seconds such as 90, or 500ms, 90s, 1.5m, 2h; at most a day");
    return ms / 1_000;
  };
}

export function linesOf(flag: string) {
  return (text: string): number => wholeBetween(flag, text, 1, 100_000);
}

/** Ray: at most 10 000 rows. */
export function eventsOf(flag: string) {
  return (text: string): number => wholeBetween(flag, text, 0, EVENTS_LIST_LIMIT);
}

export function seqOf(flag: string) {
  return (text: string): number => wholeBetween(flag, text, 0, Number.MAX_SAFE_INTEGER);
}

/** `{"license":1}`. */
export function resourcesOf(flag: string) {
  return (text: string): Record<string, number> => {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw usage(flag, text, 'JSON such as {"license":1}');
    }
    try {
      toUnits(value, flag);
    } catch (cause) {
      throw new WhiprayError({ code: "USAGE", message: (cause as Error).message, cause });
    }
    for (const name of ["CPU", "GPU", "NPU", "memory"]) {
      if (Object.hasOwn(value as object, name))
        throw usage(flag, name, "an object of custom resources; CPU, GPU, NPU and memory have flags of their own");
    }
    return value as Record<string, number>;
  };
}

/** `region=eu,disk=nvme`. */
export function labelsOf(flag: string) {
  return (text: string): Record<string, string> => {
    const labels: Record<string, string> = {};
    for (const pair of text.split(",")) {
      const match = /^([A-Za-z0-9._/-]{1,128})=([A-Za-z0-9._:/-]{0,256})$/.exec(pair);
      if (!match || match[1] === "__proto__") throw usage(flag, pair, "labels such as region=eu,disk=nvme");
      labels[match[1]!] = match[2]!;
    }
    return labels;
  };
}

export function nameOf(flag: string) {
  return (text: string): string => {
    if (!/^[A-Za-z0-9._-]{1,128}$/.test(text))
      throw usage(flag, text, "1 to 128 of letters, digits, dot, underscore and hyphen");
    return text;
  };
}

/** An IP address or a host name, without a port. */
export function hostOf(flag: string) {
  return (text: string): string => {
    const bare = text.replace(/^\[(.*)\]$/, "$1");
    const looksRight = /^[A-Za-z0-9.-]{1,253}$/.test(bare) || /^[0-9a-fA-F:.]{2,45}$/.test(bare);
    if (!looksRight || (/^[\d.]+$/.test(bare) && bare.split(".").length !== 4))
      throw usage(flag, text, "an IP address or a host name");
    return bare;
  };
}

function wholeBetween(flag: string, text: string, least: number, most: number): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw usage(flag, text, `a whole number from ${least} to ${most}`);
  return value;
}

function usage(flag: string, text: string, form: string): WhiprayError {
  return new WhiprayError({
    code: "USAGE",
    message: `${flag} must be ${form}; got ${JSON.stringify(text.slice(0, 100))}`,
    details: { flag },
  });
}
