import { type Clock, type Logger, randomIds } from "@whipray/core";
import { DEFAULT_LIMITS, MemfdSegments, NodeStore, SpillFolder } from "@whipray/objects";

export interface OpenObjectsOptions {
  readonly cluster: string;
  readonly nodeId: string;
  readonly capacityBytes: number;
  /** Folder of spill files; one of our own is made in it when the first object is spilled. */
  readonly spillRoot: string;
  /** Bytes of spill files. Default: no more than the disk gives, which is asked each time. */
  readonly spillBytes?: number | undefined;
  readonly pid: number;
  readonly startTime: number;
  readonly alive: (pid: number, startTime: number) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The object store of a real node. Nothing is loaded, made or mapped before the first object. */
export function openObjects(options: OpenObjectsOptions): NodeStore {
  const { cluster, nodeId, capacityBytes, spillRoot, spillBytes, pid, startTime, alive, clock, logger } = options;
  const ids = randomIds();
  const mark = `${short(cluster)}-${short(nodeId)}`;
  return new NodeStore({
    limits: {
      ...DEFAULT_LIMITS,
      capacityBytes,
      diskBytes: spillBytes ?? Number.MAX_SAFE_INTEGER,
    },
    segments: new MemfdSegments(mark, () => short(ids.next("obj"))),
    spill: new SpillFolder(spillRoot, { name: mark, pid, startTime }, alive),
    clock,
    logger,
  });
}

function short(id: string): string {
  return id.slice(id.indexOf("_") + 1).slice(0, 8);
}
