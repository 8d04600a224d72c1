import { deviceFiles, type Look, noDevices, unreadable } from "../look.ts";
import type { Probe } from "../probe.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

/** Biren GPUs by `/dev/biren/card_N`; no output of a tool of theirs is known. */
export const biren = vendorPlugin({
  vendor: "biren",
  resource: "GPU",
  tool: "/dev",
  prefix: "BIREN",
  variable: "SUPA_VISIBLE_DEVICES",
  acceleratorType: (name) => name || "Biren",
  look,
});

async function look(probe: Probe): Promise<Look> {
  const numbers = await deviceFiles(probe, { folder: "/dev/biren", name: /^card_(\d{1,4})$/ });
  if (!numbers) return unreadable("/dev/biren");
  if (numbers.length === 0) return noDevices();
  const rows = numbers.map((index) => ({ index, name: "", untold: true }));
  return { rows, unusable: [], warnings: [], state: "ok", elapsedMs: 0 };
}
