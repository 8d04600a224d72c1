import { typeOfName } from "../accelerator-type.ts";
import { toolLook } from "../look.ts";
import { toolLines } from "../tool-lines.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

/** The GPU of an Apple chip. There is one, and no variable hides it from a process. */
export const apple = vendorPlugin({
  vendor: "apple",
  resource: "GPU",
  tool: "system_profiler",
  prefix: "APPLE",
  variable: undefined,
  acceleratorType: (name) => typeOfName(name.replace(/^Apple\s+/i, ""), "Apple"),
  async look(probe, _purpose, signal) {
    const argv = ["system_profiler", "SPDisplaysDataType"] as const;
    const look = await toolLook(probe, argv, undefined, parseSystemProfiler, signal);
    // A Mac with another maker's GPU, or none: the tool answers, but of no Apple chip.
    const answered = look.error?.code === "PROBE_UNREADABLE";
    return answered ? { state: "none", rows: [], unusable: [], warnings: [], elapsedMs: look.elapsedMs } : look;
  },
});

/** Reads `system_profiler SPDisplaysDataType`: a chip of Apple that supports Metal, as Ray looks for. Never throws. */
export function parseSystemProfiler(text: string): ToolOutput {
  const list = new RowList();
  let name: string | undefined;
  for (const line of toolLines(text, list.warnings)) {
    const [, key, value] = /^\s{0,32}([A-Za-z][A-Za-z ]{0,40}):\s{0,8}(\S.*)$/.exec(line) ?? [];
    if (key === "Chipset Model") name = /^Apple M\d/.test(value!) ? value!.trim() : undefined;
    if (!key || !/^Metal/.test(key) || name === undefined || /unsupported/i.test(value!)) continue;
    list.add({ index: 0, name });
    break;
  }
  return list.output();
}
