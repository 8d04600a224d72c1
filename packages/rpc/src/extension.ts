/** Codes of our msgpack extensions (PROTOCOL.md, "Values"). */
export const EXTENSION = { TENSOR: 1, OBJECT_REF: 2, ACTOR_HANDLE: 3 } as const;

/** Whether the code is one of ours; every other one is refused before decoding. */
export function isExtension(code: number): boolean {
  return code >= EXTENSION.TENSOR && code <= EXTENSION.ACTOR_HANDLE;
}
