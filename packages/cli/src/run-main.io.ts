import { asWhiprayError } from "@whipray/core";
import { type Command, CommanderError } from "commander";
import { EXIT, exitCodeOf } from "./exit-code.ts";
import { fileError } from "./file-error.ts";
import { environmentName } from "./flag-values.ts";
import { type Output, terminalOutput } from "./output.io.ts";
import { checkHome, placesOf } from "./places.io.ts";
import { makeProgram } from "./program.ts";

/**
 * Runs `whipray` with these arguments. Resolves to its exit code. With `--json` an error is JSON on stdout too, unless the command has
 * written its object already: `{"error":{"code","message","details"}}`.
 */
export async function runMain(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<number> {
  const terminal = terminalOutput(env);
  let wroteJson = false;
  const output: Output = {
    ...terminal,
    json(value) {
      wroteJson = true;
      terminal.json(value);
    },
  };
  const wantsJson = args.includes("--json") || env[environmentName("--json")] !== undefined;
  const failed = (code: string, message: string, details = {}): void => {
    if (wantsJson && !wroteJson) terminal.json({ error: { code, message, details } });
  };
  const program = makeProgram({ output, env, places: placesOf(env) });
  try {
    checkHome(env);
    await program.parseAsync(args, { from: "user" });
    return EXIT.ok;
  } catch (thrown) {
    const error = fileError(thrown) ?? thrown;
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      output.say(usageOf(program, args)); // commander has said what was wrong
      failed("USAGE", error.message.replace(/^error: /, ""));
      return EXIT.usage;
    }
    const { message, code, details } = asWhiprayError(error);
    const told = `${message}${sourceOf(details["flag"], args)}`;
    output.say(`error: ${told} [${code}]`);
    failed(code, told, details);
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
