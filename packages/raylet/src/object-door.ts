import type { NodeStore } from "@whipray/objects";
import {
  type ByteStream,
  encodeControl,
  type IncomingCall,
  objectCreate,
  objectFree,
  objectHold,
  objectList,
  objectRead,
  objectRelease,
  objectSeal,
  objectWrite,
} from "@whipray/rpc";
import type { ObjectService, ObjectServiceOptions } from "./object-service.ts";

export interface ObjectDoorOptions extends Omit<ObjectServiceOptions, "store"> {
  readonly open: () => Promise<NodeStore>;
}

/** Loads what the first call needs. Simulations do it ahead: loading takes time that no simulated clock sees. */
export function loadObjectService() {
  return import("./object-service.ts");
}

/**
 * Takes the calls for the node's object store, which is loaded with the first of them: a cluster starts without it, and most never
 * need it. All calls wait for it in the same way, so that their order stays.
 */
export class ObjectDoor {
  readonly #options: ObjectDoorOptions;
  #opening: Promise<ObjectService> | undefined;
  #service: ObjectService | undefined;

  constructor(options: ObjectDoorOptions) {
    this.#options = options;
    const { endpoint } = options;
    const service = () => this.#open();
    endpoint.serve(objectCreate, async (request, call) => (await service()).create(request, call));
    endpoint.serve(objectSeal, async (request, call) => (await service()).seal(request, call));
    endpoint.serve(objectHold, async (request, call) => (await service()).hold(request, call));
    endpoint.serve(objectRelease, async (request, call) => (await service()).release(request, call));
    endpoint.serve(objectFree, async (request) => (await service()).free(request));
    endpoint.serve(objectList, async (request) => (await service()).list(request));
    endpoint.serveRaw(objectRead, (request, call) => {
      answer(call, async () => [encodeControl(null), await (await service()).read(request, call)]);
    });
    endpoint.serveRaw(objectWrite, (request, call) => {
      answer(call, async () => {
        await (await service()).write(request, call);
        return [encodeControl(null)];
      });
    });
  }

  /** See `ObjectService.stream`. */
  async stream(path: string): Promise<ByteStream> {
    return (await this.#open()).stream(path);
  }

  /** A process of this node ended. */
  ended(address: string): void {
    this.#service?.ended(address);
  }

  async close(): Promise<void> {
    if (this.#opening) await (await this.#opening).close();
  }

  #open(): Promise<ObjectService> {
    this.#opening ??= this.#load();
    return this.#opening;
  }

  async #load(): Promise<ObjectService> {
    const [{ ObjectService }, store] = await Promise.all([loadObjectService(), this.#options.open()]);
    this.#service = new ObjectService({ ...this.#options, store });
    return this.#service;
  }
}

function answer(call: IncomingCall, work: () => Promise<Uint8Array[]>): void {
  work().then(
    (parts) => call.reply(parts),
    (error: unknown) => call.fail(error),
  );
}
