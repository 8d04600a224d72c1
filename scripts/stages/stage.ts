/** What a stage found. */
export interface Outcome {
  passed: number;
  failed: number;
  /** Shown in full when something failed. */
  output: string;
  /** Said beside the counts: what was skipped and why. */
  note?: string;
}

/** One part of `npm test`. */
export interface Stage {
  /** `npm test -- <name>` runs it alone. */
  name: string;
  run(bench: Workbench): Promise<Outcome>;
}

/** Where stages work and how they start tools. */
export interface Workbench {
  root: string;
  /** A temporary folder of this run, removed at its end. */
  scratch: string;
  tool(command: ToolCommand): Promise<ToolEnd>;
}

export interface ToolCommand {
  file: string;
  args: string[];
  /** Default: the root. */
  cwd?: string;
  env?: Record<string, string>;
  /** The tool and all that it started in its process group are killed then. */
  deadlineMs: number;
}

export interface ToolEnd {
  /** Undefined when a signal ended it. */
  code: number | undefined;
  /** Standard output and error as they came. */
  output: string;
  /** Why it did not end by itself: its deadline. */
  overdue: boolean;
}

/** A stage that is one tool whose exit code says all. */
export function toolStage(name: string, file: string, args: string[], deadlineMs: number): Stage {
  return {
    name,
    async run(bench) {
      const end = await bench.tool({ file, args, deadlineMs });
      const passed = end.code === 0 ? 1 : 0;
      return { passed, failed: 1 - passed, output: showEnd(end) };
    },
  };
}

/** The output, and under it how the tool ended when that was not well. */
export function showEnd({ code, output, overdue }: ToolEnd): string {
  if (overdue) return `${output}\nended by its deadline`;
  return code === 0 ? output : `${output}\nended with ${code === undefined ? "a signal" : `exit code ${code}`}`;
}
