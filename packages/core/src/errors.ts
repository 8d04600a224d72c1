/** Where a failure happened, gathered as the error crosses processes. */
export interface Where {
  node?: string;
  /** Process inside the node: a worker, an engine, `raylet`, `head` or a driver. */
  process?: string;
  actor?: string;
  pid?: number;
  exitCode?: number;
  signal?: string;
  /** Last lines that the process wrote to stderr, oldest first. */
  stderrTail?: string[];
  logPath?: string;
}

export interface WhiprayErrorInit {
  /** Stable, upper case with underscores; what programs match on. */
  code: string;
  /** One sentence: what was wrong, which value, which limit, what to do. */
  message: string;
  /** Whether the same request may succeed later, and is known not to have run. Default false. */
  retryable?: boolean | undefined;
  /** Plain data for programs: the values that the message names. */
  details?: Record<string, unknown> | undefined;
  where?: Where | undefined;
  cause?: unknown;
}

const BRAND = Symbol.for("whipray.error");

/**
 * The base of every error that Whipray throws. Branded by `Symbol.for`, so that `instanceof` also holds between two copies
 * of this package, and between the classes of `ray-errors.ts` by their names.
 */
export class WhiprayError extends Error {
  /** Name by which `instanceof` and the wire know the class. */
  static readonly className: string = "WhiprayError";

  readonly code: string;
  readonly retryable: boolean;
  readonly details: Record<string, unknown>;
  where: Where | undefined;

  constructor(init: WhiprayErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = init.code;
    this.retryable = init.retryable ?? false;
    this.details = init.details ?? {};
    this.where = init.where;
    this.name = (this.constructor as typeof WhiprayError).className;
    Object.defineProperty(this, BRAND, { value: classChain(this.constructor as typeof WhiprayError) });
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    if (typeof value !== "object" || value === null) return false;
    const chain = (value as { [BRAND]?: readonly string[] })[BRAND];
    return Array.isArray(chain) && chain.includes(this.className);
  }

  /** Adds what is known of the place; what an inner process already said wins. */
  at(where: Where): this {
    this.where = { ...where, ...this.where };
    return this;
  }
}

function classChain(start: typeof WhiprayError): string[] {
  const chain: string[] = [];
  for (let cls = start; cls?.className; cls = Object.getPrototypeOf(cls) as typeof WhiprayError) {
    if (!chain.includes(cls.className)) chain.push(cls.className);
  }
  return chain;
}

/** The error itself when it is one of ours, else a WhiprayError `INTERNAL` around it. */
export function asWhiprayError(error: unknown, code = "INTERNAL"): WhiprayError {
  if (error instanceof WhiprayError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new WhiprayError({ code, message, cause: error });
}
