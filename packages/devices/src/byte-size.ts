import { decimalNumber } from "./tool-lines.ts";

const BYTES_OF_UNIT: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1_024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
  // Tools that say MB count as nvidia-smi's MiB does.
  MB: 1_048_576,
  GB: 1_073_741_824,
};

/** `81559 MiB`, `768MiB` → bytes; a bare number takes `unit`. Undefined for all else and below 0. */
export function byteSize(text: string | undefined, unit?: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,9})?)\s{0,8}([KMG]?i?B)?$/.exec(text?.trim() ?? "");
  const amount = decimalNumber(match?.[1]);
  const factor = BYTES_OF_UNIT[match?.[2] ?? unit ?? ""];
  return amount === undefined || factor === undefined ? undefined : Math.round(amount * factor);
}
