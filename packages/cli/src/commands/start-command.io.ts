import { readFileSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { join, resolve } from "node:path";
import { randomIds, WhiprayError } from "@whipray/core";
import { pinIn, withoutPin } from "@whipray/rpc";
import { daemons } from "whipray";
import { checkHeadSocket, checkRayletSockets } from "../socket-room.ts";
import type { CommandContext } from "./command-context.ts";
import { checkStartFlags, nodeResources, type StartFlags } from "./start-flags.ts";
import { dialled, outsideUrl, startedLines } from "./start-lines.ts";
import { stayUntilEnd } from "./stay.io.ts";

/** `whipray start`: a head and the raylet of this machine, or a raylet that joins, as background processes. */
export async function startCommand(flags: StartFlags, context: CommandContext): Promise<void> {
  checkStartFlags(flags);
  checkRayletSockets(context.places.runtimeRoot);
  hideArguments(flags);
  const started = flags.head ? await startHead(flags, context) : await joinHead(flags, context);
  if (!flags.block) return;
  try {
    await stayUntilEnd(started, context.output);
  } finally {
    if (flags.head) daemons.removeFile(context.places.address); // nobody should be sent to a head that is gone
  }
}

/** A token that was typed is out of `ps` and /proc once it was read: the title is written over the arguments. */
function hideArguments({ join: token }: StartFlags): void {
  if (token !== undefined && process.argv.some((argument) => argument.includes(token))) process.title = "whipray start";
}

async function startHead(flags: StartFlags, context: CommandContext): Promise<daemons.LaunchedDaemon[]> {
  const { places, output } = context;
  const { host, insecurePlaintext = false } = flags;
  const running = livingHead(context);
  if (running && (flags.block || livingRaylet(running.clusterId, context))) {
    throw new WhiprayError({
      code: "ALREADY_RUNNING",
      message: `A head runs here already (pid ${running.pid}, ${running.url}); "whipray stop" ends it`,
    });
  }
  const directory = running?.directory ?? resolve(flags.directory ?? join(places.state, "head"));
  const head = running ? undefined : await launchHead(directory, flags, context);
  const url = running?.url ?? ready(head!, flags).url!;
  const pin = pinIn(url);
  const { clusterId, secret } = daemons.readClusterFile(directory);
  const tokens = daemons.clusterTokens(secret);
  const joinString = daemons.showJoinString({ clusterId, token: tokens.raylet, pin });
  const local = dialled(url, "127.0.0.1");
  daemons.writeToken(tokens.driver, places.token);
  daemons.writeFileAtomic(places.joinToken, `${joinString}\n`);
  daemons.writeFileAtomic(places.address, `${local}\n`);
  const left = livingRaylet(clusterId, context);
  let raylet: daemons.LaunchedDaemon | undefined;
  try {
    if (!left) raylet = await startRaylet(local, { clusterId, token: tokens.raylet }, flags, context);
  } catch (error) {
    head?.child.kill("SIGTERM");
    if (head) daemons.removeFile(places.address);
    throw error;
  }
  // In a program on this machine the address file adds the pin.
  const address = new URL(local).host;
  const nodeId = left?.nodeId ?? raylet?.state?.nodeId;
  if (running)
    output.say(`The head of this machine (pid ${running.pid}) goes on; flags of the head do not apply to it.`);
  if (left)
    output.say(
      `The raylet of this machine (pid ${left.pid}) goes on with what it runs; resource flags do not apply to it.`,
    );
  if (flags.json) {
    const files = { tokenFile: places.token, joinTokenFile: places.joinToken, directory };
    output.json({ address: pin === undefined ? address : local, clusterId, nodeId, pin, ...files });
  } else {
    const lines = startedLines({
      ...{ clusterId, nodeId, address, host, joinString, tls: pin !== undefined, isTerminal: output.isTerminal },
      ...{ tokenFile: places.token, joinTokenFile: places.joinToken },
      outside: outsideUrl(url, host, outsideHost(host)),
      // As it was typed: inside of the repository nothing is installed.
      command: context.env["npm_lifecycle_event"] === "whipray" ? "npm run whipray --" : "whipray",
    });
    for (const line of lines) output.data(line);
    if (insecurePlaintext && !daemons.isLoopback(host))
      output.say("Warning: --insecure-plaintext sends tokens and data over the network in plain text.");
  }
  return [raylet, head].filter((one) => one !== undefined);
}

function launchHead(directory: string, flags: StartFlags, context: CommandContext): Promise<daemons.LaunchedDaemon> {
  const { host, port, tls = false, insecurePlaintext = false } = flags;
  checkHeadSocket(directory);
  return daemons.launchDaemon(
    {
      kind: "head",
      stateFile: join(context.places.daemons, "head.json"),
      tied: flags.block === true,
      ...{ directory, host, port, tls, insecurePlaintext },
    },
    launchOptions("head", flags, context),
  );
}

function livingHead({ places }: CommandContext): daemons.DaemonState | undefined {
  const known = daemons.listDaemons(places.daemons).map(({ state }) => state);
  return known.find((state) => state.kind === "head" && daemons.daemonRuns(state));
}

/** This machine's raylet of a cluster, which may have outlived its head. */
function livingRaylet(clusterId: string | undefined, { places }: CommandContext): daemons.DaemonState | undefined {
  const known = daemons.listDaemons(places.daemons).map(({ state }) => state);
  return known.find((state) => state.kind === "raylet" && state.clusterId === clusterId && daemons.daemonRuns(state));
}

async function joinHead(flags: StartFlags, context: CommandContext): Promise<daemons.LaunchedDaemon[]> {
  const { output } = context;
  const { host, insecurePlaintext = false } = flags;
  const identity = daemons.parseJoinString(flags.join ?? readJoinFile(flags.joinTokenFile!));
  const url = daemons.joinUrl(flags.address!, identity);
  daemons.requireSafe(host, url.startsWith("wss:") || insecurePlaintext);
  // What a raylet says crosses the network as what it hears.
  if (url.startsWith("ws:")) daemons.requireSafe(new URL(url).hostname, insecurePlaintext);
  const here = livingRaylet(identity.clusterId, context);
  if (here && !flags.secondRaylet) {
    throw new WhiprayError({
      code: "ALREADY_RUNNING",
      message: `This machine is in ${identity.clusterId} already, as node ${here.nodeId} (pid ${here.pid}); a second raylet would offer its CPUs, memory and devices twice. "whipray stop" ends the one that runs; --second-raylet starts another one all the same, for trying out`,
      details: { clusterId: identity.clusterId, nodeId: here.nodeId, pid: here.pid },
    });
  }
  const raylet = await startRaylet(url, identity, flags, context);
  const nodeId = raylet.state?.nodeId;
  if (flags.json) output.json({ address: new URL(url).host, clusterId: identity.clusterId, nodeId });
  else output.data(`Node ${nodeId} has joined ${identity.clusterId} at ${withoutPin(url)}. "whipray stop" ends it.`);
  return [raylet];
}

/** The head has answered, and would take the node once whoever is in its way is gone. */
const REFUSALS: ReadonlySet<string> = new Set(["DUPLICATE_DEVICE", "NODE_ID_IN_USE", "LIMIT"]);

async function startRaylet(
  url: string,
  { clusterId, token }: daemons.JoinString,
  flags: StartFlags,
  context: CommandContext,
): Promise<daemons.LaunchedDaemon> {
  const { places } = context;
  const { host, rayletPort, insecurePlaintext = false, nodeName } = flags;
  const nodeId = randomIds().next("node");
  // A joining node that listens on loopback could be dialled by nobody: it has no port, and is reached through the head. A second raylet is on the
  // machine of the others.
  const beside = flags.head || flags.secondRaylet;
  const listens = beside || !daemons.isLoopback(host);
  const ip = flags.nodeIp ?? (daemons.isLoopback(host) ? (beside ? "127.0.0.1" : undefined) : outsideHost(host));
  const raylet = await daemons.launchDaemon(
    {
      kind: "raylet",
      stateFile: join(places.daemons, `${nodeId}.json`),
      tied: flags.block === true,
      ...{ clusterId, nodeId, headUrl: url, token, ip, insecurePlaintext },
      ...(listens && { listen: { host, port: rayletPort } }),
      name: nodeName,
      resources: nodeResources(flags),
      fakeDevices: flags.fakeDevices,
      labels: flags.labels,
      runtimeRoot: places.runtimeRoot,
      cwd: process.cwd(),
    },
    launchOptions(nodeId, flags, context),
  );
  if (raylet.state?.state === "ready") return raylet;
  const goesOn = `The raylet (pid ${raylet.child.pid}) keeps trying; its log is ${logFile(nodeId, context)}, and "whipray stop" ends it`;
  const error = raylet.state?.error;
  if (error && REFUSALS.has(error.code))
    throw new WhiprayError({ code: error.code, message: `The head refuses this node: ${error.message}. ${goesOn}` });
  throw new WhiprayError({
    code: "HEAD_SILENT",
    message: `${withoutPin(url)} has not answered for ${flags.waitSeconds} s. ${goesOn}`,
  });
}

function launchOptions(name: string, flags: StartFlags, context: CommandContext): daemons.LaunchOptions {
  // In the foreground the daemons' logs go where ours go: a service manager keeps them.
  const file = flags.block ? undefined : logFile(name, context);
  // Tokens reach a daemon in its configuration's file, which it removes; in its environment they would stay for its life.
  const { WHIPRAY_JOIN: _join, WHIPRAY_TOKEN: _token, ...env } = context.env;
  return { env, cwd: process.cwd(), logFile: file, timeoutMs: flags.waitSeconds * 1_000 };
}

function logFile(name: string, { places }: CommandContext): string {
  return join(places.state, "logs", `${name}.log`);
}

function ready({ state }: daemons.LaunchedDaemon, flags: StartFlags): daemons.DaemonState {
  if (state?.state === "ready") return state;
  throw new WhiprayError({
    code: "TIMEOUT",
    message: `The head was not up within ${flags.waitSeconds} s; "whipray stop" ends it`,
  });
}

/** The address at which other machines reach one that listens on `host`. */
function outsideHost(host: string): string {
  if (host !== "0.0.0.0" && host !== "::") return host;
  const found = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return found.find(({ internal, family }) => !internal && family === "IPv4")?.address ?? hostname();
}

function readJoinFile(path: string): string {
  try {
    return readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (cause) {
    throw new WhiprayError({
      code: "NOT_FOUND",
      message: `--join-token-file ${path} cannot be read: ${String(cause)}`,
      cause,
    });
  }
}
