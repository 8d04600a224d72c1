import { typeOfName } from "../accelerator-type.ts";
import { drmCards } from "../drm-cards.ts";
import { type Look, lookOf, noDevices } from "../look.ts";
import type { Probe } from "../probe.ts";
import { vendorPlugin } from "../vendor-plugin.ts";
import { parseRocmSmi, ROCM_ARGUMENTS, type RocmMaker } from "./rocm-output.ts";

const PCI_VENDOR = "0x1d94";
export const HYGON: RocmMaker = { name: /Haiguang|Hygon/i, use: /^[DH]CU use/ };

/** Hygon DCUs by `hy-smi`, a relative of rocm-smi; their runtime is HIP too. */
export const hygon = vendorPlugin({
  vendor: "hygon",
  resource: "GPU",
  tool: "hy-smi",
  prefix: "DCU",
  variable: "HIP_VISIBLE_DEVICES",
  acceleratorType: (name) => typeOfName(name, "DCU"),
  look,
});

async function look(probe: Probe, _purpose: string, signal?: AbortSignal): Promise<Look> {
  const outcome = await probe.run(["hy-smi", ...ROCM_ARGUMENTS], signal);
  if (outcome.end !== "missing") {
    const output = parseRocmSmi(outcome.stdout, HYGON);
    return { ...lookOf(outcome, output), links: output.links };
  }
  const cards = await drmCards(probe, PCI_VENDOR);
  if (cards.length === 0) return noDevices();
  const rows = cards.map(({ pciAddress }, index) => ({ index, name: "", pciAddress, untold: true }));
  const warnings = [`DCUs are known from sysfs only: ${outcome.message}`];
  return { rows, unusable: [], warnings, state: "ok", elapsedMs: 0 };
}
