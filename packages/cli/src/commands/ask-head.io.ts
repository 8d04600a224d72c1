import { asWhiprayError, WhiprayError } from "@whipray/core";
import { daemons } from "whipray";
import { connectHead, type HeadClient } from "../head-client.ts";
import { addressOf } from "../places.io.ts";
import type { AskFlags, CommandContext } from "./command-context.ts";

/** A reader of the cluster that the flags, the environment or the address file name. */
export async function askHead(flags: AskFlags, { places, env }: CommandContext): Promise<HeadClient & { url: string }> {
  const url = addressOf(flags.address, places);
  const token = daemons.readToken(
    flags.tokenFile === undefined ? env : { ...env, WHIPRAY_TOKEN_PATH: flags.tokenFile },
  );
  try {
    const client = await connectHead({ url, token, pid: process.pid, timeoutMs: flags.timeoutSeconds * 1_000 });
    return Object.assign(client, { url });
  } catch (thrown) {
    const error = asWhiprayError(thrown);
    if (error.code !== "UNREACHABLE" || flags.address !== undefined) throw thrown;
    const hint = `the head that was started here is not there: "whipray start --head" brings it back (${places.address})`;
    throw new WhiprayError({
      code: error.code,
      message: `${error.message}; ${hint}`,
      details: error.details,
      cause: thrown,
    });
  }
}
