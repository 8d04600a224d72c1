import { deviceFiles, type FilePlace, fileOf, type Look, noDevices, unreadable } from "../look.ts";
import type { Probe } from "../probe.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

const FILES: FilePlace = { folder: "/dev/biren", before: "card_" };

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
  const numbers = await deviceFiles(probe, FILES);
  if (!numbers) return unreadable(FILES.folder);
  if (numbers.length === 0) return noDevices();
  const rows = numbers.map((index) => ({ index, name: "", untold: true, files: [fileOf(FILES, index)] }));
  return { rows, unusable: [], warnings: [], state: "ok", elapsedMs: 0 };
}
