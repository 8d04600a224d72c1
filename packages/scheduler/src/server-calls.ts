import { decodeValues, encodeValues } from "@whipray/rpc";
import type { ServerHandle } from "./cluster.ts";
import type { ServerInfo } from "./server-start.ts";

/** One of the server's own methods, with decoded arguments. */
export async function askServer(
  server: ServerHandle,
  method: string,
  args: readonly unknown[],
  timeoutMs: number,
): Promise<unknown> {
  const reply = await server.call(method, encodeValues(args, "args"), { timeoutMs });
  return reply[0]?.length ? decodeValues(reply) : undefined;
}

export async function serverInfo(member: { server: ServerHandle }, timeoutMs: number): Promise<ServerInfo> {
  return (await askServer(member.server, "info", [], timeoutMs)) as ServerInfo;
}
