import { WhiprayError } from "@whipray/core";
import type { Device, UnusableDevice } from "./device.ts";
import type { DevicePlugin } from "./plugin.ts";
import type { Environment } from "./probe.ts";
import { quote } from "./warning-list.ts";

/** Entries that a visible list may have. */
export const VISIBLE_LIST_LIMIT = 256;
const ENTRY = /^[A-Za-z0-9][A-Za-z0-9./_:-]{0,127}$/;

/** A node's own visible list. `undefined`: the variable is not set, everything is visible. */
type VisibleList = readonly string[] | undefined;

/**
 * Reads the plugin's variable from the node's environment, as the vendor's runtime would: an entry that means "no device"
 * ends the list there (CUDA stops at −1).
 * @throws WhiprayError `INVALID_VISIBLE_DEVICES` for empty, malformed or repeated entries (reliability B41).
 */
export function visibleListOf(plugin: DevicePlugin, environment: Environment): VisibleList {
  const value = ownListOf(plugin, environment);
  if (value === undefined) return undefined;
  if (value.trim() === "") return [];
  const entries: string[] = [];
  for (const part of value.split(",", VISIBLE_LIST_LIMIT + 1)) {
    const entry = part.trim();
    if (plugin.noDeviceWords.includes(entry)) return entries;
    if (!ENTRY.test(entry)) throw invalidList(plugin, value, entry, "is not a device index or UUID");
    if (entries.includes(entry)) throw invalidList(plugin, value, entry, "is listed twice");
    entries.push(entry);
  }
  if (entries.length > VISIBLE_LIST_LIMIT) {
    throw invalidList(
      plugin,
      value,
      entries[VISIBLE_LIST_LIMIT]!,
      `is beyond the limit of ${VISIBLE_LIST_LIMIT} entries`,
    );
  }
  return entries;
}

function ownListOf(plugin: DevicePlugin, environment: Environment): string | undefined {
  if (plugin.ownList) return plugin.ownList(environment);
  return plugin.visibilityVariable === undefined ? undefined : environment[plugin.visibilityVariable];
}

/** What there is to choose from. */
interface Candidates {
  readonly devices: readonly Device[];
  readonly partitions: readonly Device[];
  readonly unusable: readonly UnusableDevice[];
}

/**
 * The devices that the node's list leaves, in the list's order; without a list all whole devices. Partitions (MIG) come
 * in only by name.
 * @throws WhiprayError `INVALID_VISIBLE_DEVICES` when an entry means no device, several, or one that is already listed.
 */
export function selectVisible(plugin: DevicePlugin, found: Candidates, environment: Environment): Device[] {
  const list = visibleListOf(plugin, environment);
  if (list === undefined) return [...found.devices];
  const value = ownListOf(plugin, environment)!;
  const candidates = [...found.devices, ...found.partitions];
  const chosen: Device[] = [];
  for (const entry of list) {
    const exact = candidates.filter((device) => device.uuid === entry);
    const matches = exact.length > 0 ? exact : candidates.filter((device) => plugin.names(entry, device));
    const device = matches[0];
    if (!device) throw invalidList(plugin, value, entry, whyUnknown(entry, found));
    if (matches.length > 1) throw invalidList(plugin, value, entry, `means ${matches.length} devices`);
    if (chosen.includes(device))
      throw invalidList(plugin, value, entry, `means ${device.uuid}, which is already listed`);
    chosen.push(device);
  }
  return chosen;
}

function whyUnknown(entry: string, found: Candidates): string {
  const known = found.unusable.find(({ index, uuid }) => entry === String(index) || entry === uuid);
  if (known) return `cannot be used: ${known.reason}`;
  const last = found.devices.at(-1);
  return `is unknown here; this machine has ${last ? `${found.devices.length} devices, up to index ${last.index}` : "no such device"}`;
}

function invalidList(plugin: DevicePlugin, value: string, entry: string, rule: string): WhiprayError {
  const variable = plugin.visibilityVariable;
  return new WhiprayError({
    code: "INVALID_VISIBLE_DEVICES",
    message: `${variable}=${quote(value)} of this node: entry ${quote(entry)} ${rule}. Correct or unset ${variable} and start again.`,
    details: { variable, value: value.slice(0, 1_000), entry: entry.slice(0, 200) },
  });
}
