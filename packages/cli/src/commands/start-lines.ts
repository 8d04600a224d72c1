import { daemons } from "whipray";

/** A head that is up, as `start` tells of it. */
export interface StartedHead {
  clusterId: string;
  nodeId: string | undefined;
  /** HOST:PORT on this machine. */
  address: string;
  /** Its address for other machines, with the pin; undefined when it listens on `host` for this one alone. */
  outside: string | undefined;
  host: string;
  tls: boolean;
  tokenFile: string;
  joinTokenFile: string;
  joinString: string;
  /**
   * The lines go to somebody's eyes. The token then travels in the line, as a variable: whoever lists processes sees arguments, and no
   * variables of other users. What is written to a file or a service manager's log names the token's file instead.
   */
  isTerminal: boolean;
  /** `whipray`, as this user calls it. */
  command: string;
}

/** What `whipray start --head` prints for people. */
export function startedLines(head: StartedHead): string[] {
  const { clusterId, nodeId, address, outside, host, tls, tokenFile, command } = head;
  const lines = [
    `Cluster ${clusterId} is up: head and node ${nodeId}.`,
    `  connect:  await init({ address: ${JSON.stringify(address)} })   (token: ${tokenFile})`,
    `  look:     ${command} status`,
    `  stop:     ${command} stop`,
  ];
  if (outside === undefined) {
    lines.push(`  join:     this head listens on ${host} only; over an SSH tunnel to it:`, joinLine(head, address, ""));
  } else {
    const permission = tls ? "" : "--insecure-plaintext ";
    lines.push(
      `  connect, on another machine, with the same token:  await init({ address: ${JSON.stringify(outside)} })`,
      "  join, on another machine:",
      joinLine(head, new URL(outside).host, ` ${permission}--host 0.0.0.0`),
    );
  }
  if (!head.isTerminal) lines.push("            with a copy of that file of this machine, mode 600");
  return lines;
}

function joinLine(head: StartedHead, address: string, more: string): string {
  const { isTerminal, joinString, joinTokenFile, command } = head;
  const start = `${command} start --address ${address}${more}`;
  return `            ${isTerminal ? `WHIPRAY_JOIN=${joinString} ${start}` : `${start} --join-token-file ${joinTokenFile}`}`;
}

/** The address at which other machines reach a head that listens on `host`; undefined when none can. */
export function outsideUrl(url: string, host: string, outsideHost: string): string | undefined {
  return daemons.isLoopback(host) ? undefined : dialled(url, outsideHost);
}

/** A head's URL for a dialler that reaches its machine at `host`: a wildcard address means nothing to it. */
export function dialled(url: string, host: string): string {
  const { protocol, hostname: bound, port, hash } = new URL(url);
  const wildcard = bound === "0.0.0.0" || bound === "[::]";
  return `${protocol}//${wildcard ? host : bound}:${port}${hash}`;
}
