import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const fixtures = new URL("./fixtures/", import.meta.url);
const hardware = new URL("../../../../shared/hardware/", import.meta.url);

/** An own sample of a tool's output. */
export function fixture(name: string): string {
  return readFileSync(new URL(name, fixtures), "utf8");
}

/** Where it lies, for a tool that prints it. */
export function fixturePath(name: string): string {
  return fileURLToPath(new URL(name, fixtures));
}

/** Names of all own samples. */
export const fixtureNames: readonly string[] = readdirSync(fixtures);

/** The shared samples, where the folder is present: name and text. */
export const hardwareSamples: readonly (readonly [name: string, text: string])[] = existsSync(hardware)
  ? readdirSync(hardware).map((name) => [name, readFileSync(new URL(name, hardware), "utf8")] as const)
  : [];

export function hardwareSample(name: string): string | undefined {
  return hardwareSamples.find(([sample]) => sample === name)?.[1];
}
