import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { builtinPlugins, detectDevices, memoryProbe, nvidia } from "../src/index.ts";
import { acme } from "./acme.ts";
import { fixture } from "./fixture.ts";

const doc = readFileSync(new URL("../../../docs/accelerators.md", import.meta.url), "utf8");

describe("the walk-through of docs/accelerators.md", () => {
  test("shows the sample and the file that are tested here", () => {
    const file = readFileSync(new URL("./acme.ts", import.meta.url), "utf8").replaceAll('"../src/', '"../');
    expect(doc).toContain(`\`\`\`text\n${fixture("acme-smi-2xA1.txt")}\`\`\``);
    expect(doc).toContain(`\`\`\`ts\n${file}\`\`\``);
  });

  test("one file and one sample are a vendor: found, counted, watched, shown", async () => {
    const probe = memoryProbe({ machine: "gpu-01", tools: { "acme-smi": fixture("acme-smi-2xA1.txt") } });
    const environment = { ACME_VISIBLE_DEVICES: "1,0" };
    const found = await detectDevices({ plugins: [nvidia, acme], probe, environment, nodeName: "gpu-01" });
    expect(found).toMatchObject({ counts: { NPU: 2 }, warnings: [] });
    expect(found.devices).toMatchObject([
      { uuid: "ACME-0000:65:00.0@gpu-01", index: 1, health: "unhealthy", healthReason: "2 uncorrected ECC errors" },
      { uuid: "ACME-0000:17:00.0@gpu-01", index: 0, health: "ok", acceleratorType: "Acme-A1", memoryBytes: 2 ** 36 },
    ]);
    const { stats } = await acme.stats(probe, found.devices);
    expect(stats[1]).toMatchObject({ utilization: 0.81, temperatureC: 63, powerW: 301 });
    expect(acme.visibility({ granted: found.devices, nodeEnvironment: environment })).toEqual({
      ACME_VISIBLE_DEVICES: "1,0",
    });
  });
});

describe("the table of docs/accelerators.md", () => {
  test.each(builtinPlugins.map((plugin) => [plugin.vendor, plugin] as const))("has %s as it is", (vendor, plugin) => {
    const row = doc.split("\n").find((line) => line.startsWith(`| ${vendor} `));
    const [, , , resource, variable] = row?.split("|").map((cell) => cell.trim()) ?? [];
    expect(resource).toBe(`${plugin.resource}${plugin.wholeOnly ? "" : " *"}`);
    expect(variable).toBe(plugin.visibilityVariable === undefined ? "none" : `\`${plugin.visibilityVariable}\``);
  });
});
