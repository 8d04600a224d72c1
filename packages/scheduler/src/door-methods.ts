/** Raw methods of the RPC server that a caller's own way to the engine host needs (`Splice`), also with `@role/index` of a forked sibling. */
export const DOOR_METHODS = { open: "openDoor", giveResult: "giveResult", whyCut: "whyCut" } as const;
