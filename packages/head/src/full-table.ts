import { WhiprayError } from "@whipray/core";

/** The refusal that every table gives when it is full. */
export function limit(what: string, most: number): WhiprayError {
  return new WhiprayError({
    code: "LIMIT",
    message: `the head holds at most ${most} ${what}; remove some first`,
    retryable: true,
    details: { what, limit: most },
  });
}
