/** Codes of our msgpack extensions (PROTOCOL.md, "Values"). */
export const EXTENSION = { TENSOR: 1, OBJECT_REF: 2, ACTOR_HANDLE: 3, STORED: 4 } as const;

/** Whether the code may be in a value; every other one is refused before decoding. */
export function isExtension(code: number): boolean {
  return code >= EXTENSION.TENSOR && code <= EXTENSION.STORED;
}
