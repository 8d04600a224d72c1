/** What a shell says of a program that SIGPIPE ended. */
const EXIT_BROKEN_PIPE = 141;

/** Runs a program with this process' arguments, and ends the process with its exit code once its output is written. */
export async function endWith(program: (args: readonly string[]) => Promise<number>): Promise<void> {
  // Whoever read us has read enough (`whipray status | head`): we end as other programs do, without a word.
  process.stdout.on("error", ({ code }: NodeJS.ErrnoException) =>
    process.exit(code === "EPIPE" ? EXIT_BROKEN_PIPE : 1),
  );
  process.stderr.on("error", () => undefined);
  const code = await program(process.argv.slice(2));
  for (const stream of [process.stdout, process.stderr]) {
    await new Promise<void>((resolve) => stream.write("", () => resolve()));
  }
  process.exit(code);
}
