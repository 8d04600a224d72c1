import { deviceFiles, fileOf, type Look, noDevices, unreadable } from "../look.ts";
import type { Probe } from "../probe.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

/** Mobilint NPUs by their device files; no tool of theirs is known. */
export const mobilint = vendorPlugin({
  vendor: "mobilint",
  resource: "MBLT",
  tool: "/dev",
  prefix: "MBLT",
  variable: "MBLT_DEVICES",
  wholeOnly: true,
  acceleratorType: (name) => name || "Mobilint",
  look,
});

async function look(probe: Probe): Promise<Look> {
  const families = ["aries", "regulus"];
  const found = await Promise.all(families.map((family) => deviceFiles(probe, { folder: "/dev", before: family })));
  if (found.includes(undefined)) return unreadable("/dev");
  // Both families count from 0: the runtime's numbers are those of the only family that a machine is known to have.
  const at = found.findIndex((numbers) => numbers!.length > 0);
  if (at < 0) return noDevices();
  const family = families[at]!;
  const rows = found[at]!.map((index) => {
    return {
      index,
      name: family.toUpperCase(),
      untold: true,
      files: [fileOf({ folder: "/dev", before: family }, index)],
    };
  });
  const second = found.findIndex((numbers, place) => place > at && numbers!.length > 0) > 0;
  const warnings = second ? [`devices of ${families[1]} are not offered beside those of ${families[0]}`] : [];
  return { rows, unusable: [], warnings, state: "ok", elapsedMs: 0 };
}
