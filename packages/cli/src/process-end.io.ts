/** Runs a program with this process' arguments, and ends the process with its exit code once its output is written. */
export async function endWith(program: (args: readonly string[]) => Promise<number>): Promise<void> {
  const code = await program(process.argv.slice(2));
  for (const stream of [process.stdout, process.stderr]) {
    await new Promise<void>((resolve) => stream.write("", () => resolve()));
  }
  process.exit(code);
}
