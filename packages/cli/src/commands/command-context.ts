import type { Output } from "../output.io.ts";
import type { Places } from "../places.io.ts";

/** What every command gets beside its flags. */
export interface CommandContext {
  output: Output;
  places: Places;
  env: NodeJS.ProcessEnv;
}

/** Flags of every command that asks a head. */
export interface AskFlags {
  address?: string;
  tokenFile?: string;
  timeoutSeconds: number;
  json?: boolean;
}
