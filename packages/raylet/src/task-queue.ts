/** A request for a task's worker that waits for resources. */
export interface WaitingLease {
  readonly leaseId: string;
  /** Requests of one shape want the same of the ledger: what one does not get, the next does not get either. */
  readonly shape: string;
}

/** What the ledger says to a request. */
export type QueueAnswer = { ok: true } | { ok: false; reason: string };

/** Which requests for task workers are granted next: first come, first served within a shape; other shapes pass. Pure. */
export class TaskQueue<T extends WaitingLease> {
  readonly #waiting = new Map<string, T>();
  readonly #reasons = new Map<string, string>();

  get length(): number {
    return this.#waiting.size;
  }

  add(request: T): void {
    this.#waiting.set(request.leaseId, request);
  }

  /** False when it does not wait. */
  withdraw(leaseId: string): boolean {
    return this.#waiting.delete(leaseId);
  }

  /** Asks the ledger for those that wait, in their order; those that it grants wait no more. */
  grant(acquire: (request: T) => QueueAnswer): T[] {
    this.#reasons.clear();
    const granted: T[] = [];
    for (const request of this.#waiting.values()) {
      if (this.#reasons.has(request.shape)) continue;
      const answer = acquire(request);
      if (answer.ok) granted.push(request);
      else this.#reasons.set(request.shape, answer.reason);
    }
    for (const { leaseId } of granted) this.#waiting.delete(leaseId);
    return granted;
  }

  /** Why it waits; undefined when it does not. */
  why(leaseId: string): string | undefined {
    const request = this.#waiting.get(leaseId);
    return request && (this.#reasons.get(request.shape) ?? "it has just come");
  }
}
