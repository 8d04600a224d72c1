import { DEVICE_RESOURCES, WhiprayError } from "@whipray/core";
import { type Device, lockNameOf } from "./device.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { DeviceLink } from "./link.ts";
import { machineIdentity } from "./machine-identity.ts";
import type { DevicePlugin } from "./plugin.ts";
import type { Environment, Probe } from "./probe.ts";
import { DEVICE_LIMIT } from "./tool-lines.ts";
import { fakeDevice } from "./vendors/fake.ts";
import { selectVisible, visibleListOf } from "./visible-list.ts";

/** Devices of one resource that a node may declare. */
export const DECLARED_LIMIT = DEVICE_LIMIT;

export interface DetectOptions {
  readonly plugins: readonly DevicePlugin[];
  /** Counts that somebody gave, by resource: `{ GPU: 4 }`. They win over what the tools find; 0 hides all. */
  readonly declared?: Readonly<Record<string, number>>;
  readonly probe: Probe;
  /** The node's own environment, of which the visible lists are respected. */
  readonly environment: Environment;
  /** Part of the identity of declared devices. */
  readonly nodeName: string;
  readonly signal?: AbortSignal;
}

export interface NodeDevices {
  /** What the node offers, unhealthy ones included; by resource, then in the order of the visible list. */
  readonly devices: readonly Device[];
  /** Devices by resource; names without devices are absent. */
  readonly counts: Readonly<Record<string, number>>;
  /** Links between `devices`, each pair once. */
  readonly links: readonly DeviceLink[];
  /** One for each plugin, also for those that found nothing or failed. */
  readonly fingerprints: readonly Fingerprint[];
  readonly warnings: readonly string[];
}

/** What one plugin offers of its resource, after the node's own list. */
interface Offer {
  readonly plugin: DevicePlugin;
  readonly fingerprint: Fingerprint;
  readonly list: readonly string[] | undefined;
  readonly devices: readonly Device[];
}

/**
 * The devices of this node. Several families on one node are allowed, unlike in Ray. A failed probe is no error: its
 * resource has no devices, its fingerprint and a warning say why.
 *
 * A declared count takes the first devices that were found, healthy ones first; what is missing is made up
 * (Ray: declared totals may exceed the hardware), but never beyond the node's own visible list.
 * @throws WhiprayError `INVALID_VISIBLE_DEVICES`; `INVALID_DEVICE_COUNT` for a count that is no whole number from 0 to 256 or
 * a resource without single devices; `DEVICE_COUNT_EXCEEDS_VISIBLE` when more are declared than the visible list has.
 */
export async function detectDevices(options: DetectOptions): Promise<NodeDevices> {
  const { plugins, declared = {}, probe, environment, nodeName, signal } = options;
  for (const [resource, count] of Object.entries(declared)) checkDeclared(resource, count);
  const lists = plugins.map((plugin) => visibleListOf(plugin, environment));
  const fingerprints = await Promise.all(plugins.map((plugin) => plugin.fingerprint(probe, signal)));
  const warnings: string[] = [];
  const offers: Offer[] = [];
  for (const [at, plugin] of plugins.entries()) {
    const [list, fingerprint] = [lists[at], fingerprints[at]!];
    offers.push({ plugin, fingerprint, list, devices: offered(plugin, fingerprint, environment) });
  }
  for (const offer of offers) {
    const said = [...warningsOf(offer, offers), ...replacedVariables(offer, environment)];
    warnings.push(...said.map((warning) => `${offer.plugin.vendor}: ${warning}`));
  }
  const devices: Device[] = [];
  for (const resource of new Set([...plugins.map((plugin) => plugin.resource), ...Object.keys(declared)])) {
    const mine = offers.filter(({ plugin }) => plugin.resource === resource);
    const found = mine.flatMap((offer) => offer.devices);
    const count = Object.hasOwn(declared, resource) ? declared[resource] : undefined;
    devices.push(...(count === undefined ? found : declare(resource, count, mine, { nodeName, probe }, warnings)));
  }
  const counts: Record<string, number> = {};
  for (const { resource } of devices) counts[resource] = (counts[resource] ?? 0) + 1;
  const offering = new Set(devices.map((device) => device.uuid));
  const links = fingerprints
    .flatMap((fingerprint) => fingerprint.links)
    .filter(({ from, to }) => offering.has(from) && offering.has(to));
  return { devices, counts, links, fingerprints, warnings };
}

function checkDeclared(resource: string, count: number): void {
  const valid = Number.isInteger(count) && count >= 0 && count <= DECLARED_LIMIT;
  if (valid && DEVICE_RESOURCES.has(resource)) return;
  const rule = valid
    ? `has no single devices; those that have are ${[...DEVICE_RESOURCES].join(", ")}`
    : `must be a whole number from 0 to ${DECLARED_LIMIT}; got ${String(count).slice(0, 40)}`;
  throw new WhiprayError({
    code: "INVALID_DEVICE_COUNT",
    message: `declared number of devices: ${resource.slice(0, 128)} ${rule}`,
    details: { resource: resource.slice(0, 128), value: count, limit: DECLARED_LIMIT },
  });
}

/** Where nothing was found the list cannot be checked against devices: a leftover variable on a CPU machine is harmless. */
function offered(plugin: DevicePlugin, fingerprint: Fingerprint, environment: Environment): Device[] {
  if (fingerprint.state !== "ok") return [];
  plugin.checkNode?.(environment);
  return selectVisible(plugin, fingerprint, environment);
}

function warningsOf({ plugin, fingerprint, list }: Offer, offers: readonly Offer[]): string[] {
  const { state, error, warnings } = fingerprint;
  if (state === "unknown") return [`devices are not known, since the probe failed: ${error?.message}`, ...warnings];
  if (state === "ok" || !list || list.length === 0) return [...warnings];
  // Vendors share variables: one warning, and none where the list is another vendor's.
  const sharing = offers.filter((other) => other.plugin.visibilityVariable === plugin.visibilityVariable);
  if (sharing[0]!.plugin !== plugin || sharing.some((other) => other.fingerprint.state !== "none"))
    return [...warnings];
  return [...warnings, `${plugin.visibilityVariable}=${list.join(",")} is set, but this machine has no such device`];
}

/** Variables of the node, other than the visible list, that its processes get with another value. */
function replacedVariables({ plugin, fingerprint }: Offer, environment: Environment): string[] {
  if (fingerprint.state === "none") return [];
  return Object.entries(plugin.visibility({ granted: [], nodeEnvironment: environment }))
    .filter(([name, value]) => name !== plugin.visibilityVariable && value !== "" && environment[name] !== undefined)
    .filter(([name, value]) => environment[name] !== value)
    .map(([name, value]) => `${name}=${environment[name]} of this node is replaced by ${value}`);
}

/**
 * Whose devices and lists a declared count is about. Several vendors have the same resource, but a node that declares
 * GPUs means those that it has, else those that could not be looked at, else those that it lists.
 */
function relevantOffers(offers: readonly Offer[]): readonly Offer[] {
  const found = offers.filter(({ fingerprint }) => fingerprint.state === "ok");
  if (found.length > 0) return found;
  const failed = offers.filter(({ fingerprint }) => fingerprint.state === "unknown");
  if (failed.length > 0) {
    const variables = failed.map(({ plugin }) => plugin.visibilityVariable);
    return failed.filter(({ plugin }, at) => variables.indexOf(plugin.visibilityVariable) === at);
  }
  return offers.filter(({ list }) => list !== undefined).slice(0, 1);
}

function declare(
  resource: string,
  count: number,
  all: readonly Offer[],
  { nodeName, probe }: Pick<DetectOptions, "nodeName" | "probe">,
  warnings: string[],
): Device[] {
  const offers = relevantOffers(all);
  const found = offers.flatMap((offer) => offer.devices);
  const lists = offers.filter(({ list }) => list !== undefined);
  const visible = lists.length === 0 ? undefined : lists.flatMap(({ list }) => list!);
  // A vendor without a list limits nothing by itself, but its devices count beside the listed ones.
  const unlisted = offers.filter(({ list }) => list === undefined).flatMap((offer) => offer.devices).length;
  if (visible && count > visible.length + unlisted) throw exceeds(resource, count, lists);
  const healthyFirst = [...found].sort((left, right) => rank(left) - rank(right)).slice(0, count);
  const taken = found.filter((device) => healthyFirst.includes(device));
  if (taken.length === count) return taken;
  const free = visible?.filter((entry) => !offers.some((offer) => found.some((d) => offer.plugin.names(entry, d))));
  const used = new Set(taken.map((device) => device.index));
  // Where the machine has such devices, or may have them, the numbers that processes get mean those.
  const real = offers.some(({ fingerprint }) => fingerprint.state !== "none");
  const trusted = (device: Device): Device => (real ? onTrust(probe, device, offers) : device);
  for (let index = 0; taken.length < count; index++) {
    const entry = free?.shift();
    if (entry !== undefined) taken.push(declaredEntry(resource, nodeName, entry, index, trusted));
    else if (!used.has(index)) taken.push(trusted(fakeDevice(resource, nodeName, index)));
  }
  if (real) {
    warnings.push(`${count} ${resource} are declared, ${found.length} were found: the others are taken on trust`);
  }
  return taken;
}

/** A declared device that the node's list names: the entry is its index or its identity. */
function declaredEntry(
  resource: string,
  nodeName: string,
  entry: string,
  place: number,
  trusted: (device: Device) => Device,
): Device {
  if (/^\d{1,9}$/.test(entry)) return trusted(fakeDevice(resource, nodeName, Number(entry)));
  return { ...trusted(fakeDevice(resource, nodeName, place)), uuid: entry, lockName: lockNameOf(entry) };
}

/** Its lock is the machine's: that of the device itself where its driver names it; else every node that declares this number means the same. */
function onTrust(probe: Probe, device: Device, offers: readonly Offer[]): Device {
  const known = offers.flatMap(({ fingerprint }) => fingerprint.lockNames?.[device.index] ?? []);
  const { lockName } = machineIdentity(probe, `declared-${device.resource}-${device.index}`);
  return { ...device, lockName: known[0] ?? lockName, onTrust: true };
}

function rank(device: Device): number {
  return device.health === "unhealthy" ? 1 : 0;
}

function exceeds(resource: string, count: number, lists: readonly Offer[]): WhiprayError {
  const shown = lists.map(({ plugin, list }) => `${plugin.visibilityVariable}="${list!.join(",")}"`);
  const visible = lists.flatMap(({ list }) => list!).length;
  return new WhiprayError({
    code: "DEVICE_COUNT_EXCEEDS_VISIBLE",
    message: `${count} ${resource} are declared, but ${shown.join(" and ").slice(0, 400)} of this node leaves ${visible}`,
    details: { resource, declared: count, visible, variables: lists.map(({ plugin }) => plugin.visibilityVariable) },
  });
}
