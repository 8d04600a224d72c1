import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { SqliteFile, type StorageFailure, type StoredRow, type StoredWrite } from "./sqlite-file.io.ts";

/** Writes that are stored together, or not at all. */
export interface StoreBatch {
  batch: number;
  writes: StoredWrite[];
}

/** What the store asks of its thread, in order. */
export type StoreOrder = { load: true } | { batches: StoreBatch[] } | { close: true };
/** What the thread answers. `failed` names every batch of the commit that failed. */
export type StoreAnswer =
  | { loaded: StoredRow[] }
  | { refused: StorageFailure }
  | { done: number[] }
  | { failed: number[]; failure: StorageFailure }
  | { closed: true };

// This file is a thread's entry: it blocks in fsync so that nobody else has to (design.md, mechanism 6).
const port = parentPort!;
const { file, bytesLimit } = workerData as { file: string; bytesLimit: number };
let journal: SqliteFile | undefined;

function answer(message: StoreAnswer): void {
  port.postMessage(message);
}

function load(): void {
  try {
    journal ??= new SqliteFile(file, bytesLimit);
    answer({ loaded: journal.load() });
  } catch (error) {
    answer({ refused: SqliteFile.failureOf(error, file) });
  }
}

/** Everything that queued up while the last commit ran goes into one: one fsync for all. */
function commit(batches: StoreBatch[]): void {
  const numbers = batches.map((one) => one.batch);
  try {
    journal!.commit(batches.flatMap((one) => one.writes));
    answer({ done: numbers });
  } catch (error) {
    // A large batch may be what does not fit: each gets its own chance, in order.
    if (batches.length > 1) for (const one of batches) commit([one]);
    else answer({ failed: numbers, failure: SqliteFile.failureOf(error, file) });
  }
}

port.on("message", (first: StoreOrder) => {
  const batches: StoreBatch[] = [];
  for (let order: StoreOrder | undefined = first; order; order = receiveMessageOnPort(port)?.message) {
    if ("batches" in order) {
      batches.push(...order.batches);
      continue;
    }
    if (batches.length > 0) commit(batches.splice(0));
    if ("load" in order) load();
    else {
      journal?.close();
      answer({ closed: true });
      port.close();
      return;
    }
  }
  if (batches.length > 0) commit(batches);
});
