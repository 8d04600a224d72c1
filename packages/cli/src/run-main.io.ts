import { asWhiprayError } from "@whipray/core";
import { type Command, CommanderError } from "commander";
import { EXIT, exitCodeOf } from "./exit-code.ts";
import { environmentName } from "./flag-values.ts";
import { terminalOutput } from "./output.io.ts";
import { placesOf } from "./places.io.ts";
import { makeProgram } from "./program.ts";

/** Runs `whipray` with these arguments. Resolves to its exit code. */
export async function runMain(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<number> {
  const output = terminalOutput(env);
  const program = makeProgram({ output, env, places: placesOf(env) });
  try {
    await program.parseAsync(args, { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      output.say(usageOf(program, args)); // commander has said what was wrong
      return EXIT.usage;
    }
    const { message, code, details } = asWhiprayError(error);
    output.say(`error: ${message}${sourceOf(details["flag"], args)} [${code}]`);
    const exit = exitCodeOf(error);
    if (exit === EXIT.usage) output.say(usageOf(program, args));
    return exit;
  }
}

/** Where a bad value came from, if nobody typed it. */
function sourceOf(flag: unknown, args: readonly string[]): string {
  if (typeof flag !== "string" || args.some((arg) => arg === flag || arg.startsWith(`${flag}=`))) return "";
  return ` (from ${environmentName(flag)})`;
}

function usageOf(program: Command, args: readonly string[]): string {
  const command = program.commands.find((one) => one.name() === args[0]);
  const [name, usage] = command
    ? [`${program.name()} ${command.name()}`, command.usage()]
    : [program.name(), program.usage()];
  return `usage: ${name} ${usage}   ("${name} --help" tells more)`;
}
