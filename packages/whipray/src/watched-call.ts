import type { Parts } from "@whipray/rpc";
import type { Submission, SubmitOptions } from "./submission.ts";
import type { TaskReport } from "./task-reports.ts";

/** A call of whose end others want to hear. */
export class WatchedCall implements Submission {
  readonly method: string;
  readonly options: SubmitOptions;
  readonly report: TaskReport | undefined;
  retries: number;
  retryOn: readonly string[] | undefined;
  deadlineAtMs: number | undefined;
  readonly #inner: Submission;
  readonly #answered: (() => void) | undefined;

  /** `answered` is called at its end, as `report` and whoever may cancel it are told. */
  constructor(inner: Submission, report: TaskReport | undefined, answered: (() => void) | undefined) {
    this.#inner = inner;
    this.#answered = answered;
    this.report = report;
    this.method = inner.method;
    this.options = inner.options;
    this.retries = inner.retries;
    this.deadlineAtMs = inner.deadlineAtMs;
  }

  // They may not be there yet.
  get parts(): Parts {
    return this.#inner.parts;
  }

  resolve(parts: Parts): void {
    this.#ended();
    this.#inner.resolve(parts);
  }

  reject(error: unknown): void {
    this.#ended(error);
    this.#inner.reject(error);
  }

  #ended(error?: unknown): void {
    this.#answered?.();
    this.report?.ended(error);
    this.options.parent?.done?.();
  }
}
