/** Name of the method by which an actor takes calls undecoded: `RAW_CALL` of `@whipray/worker`, by its global symbol. */
export const RAW_CALL: unique symbol = Symbol.for("whipray.rawCall") as never;
