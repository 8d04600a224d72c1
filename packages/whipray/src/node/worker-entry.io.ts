import { workerMain } from "@whipray/worker";
import { actorRevive } from "../connect.ts";

// The file that a raylet starts with Node to get a worker.
workerMain(process.env, actorRevive).catch((error: unknown) => {
  process.stderr.write(`worker could not start: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
