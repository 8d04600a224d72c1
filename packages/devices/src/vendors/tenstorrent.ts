import { typeOfName } from "../accelerator-type.ts";
import { hwmonFigures } from "../hwmon.ts";
import { deviceFiles, type FilePlace, fileOf, type Look, noDevices, pciOfClass, unreadable } from "../look.ts";
import type { Probe } from "../probe.ts";
import type { ToolRow } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

const FILES: FilePlace = { folder: "/dev/tenstorrent", before: "" };

/** Tenstorrent cards by `/dev/tenstorrent/N`, as in Ray; sysfs tells the place and the kind of card. */
export const tenstorrent = vendorPlugin({
  vendor: "tenstorrent",
  resource: "TTNPU",
  tool: "/dev",
  prefix: "TT",
  variable: "TT_VISIBLE_DEVICES",
  wholeOnly: true,
  acceleratorType: (name) => typeOfName(name, "Tenstorrent"),
  look,
});

async function look(probe: Probe): Promise<Look> {
  const numbers = await deviceFiles(probe, FILES);
  if (!numbers) return unreadable(FILES.folder);
  if (numbers.length === 0) return noDevices();
  const rows = await Promise.all(
    numbers.map(async (index): Promise<ToolRow> => {
      const path = `/sys/class/tenstorrent/tenstorrent!${index}`;
      const pciAddress = await pciOfClass(probe, path);
      const card = (await probe.read(`${path}/tt_card_type`))?.trim().slice(0, 64) ?? "";
      const files = [fileOf(FILES, index)];
      const figures = await hwmonFigures(probe, `${path}/device/hwmon`);
      return { index, name: card, untold: true, files, ...figures, ...(pciAddress && { pciAddress }) };
    }),
  );
  return { rows, unusable: [], warnings: [], state: "ok", elapsedMs: 0 };
}
