import { PURPOSES, ROLES } from "../call.ts";
import { decodeControl, encodeControl } from "../codec.ts";
import { bool, count, type Field, type Infer, list, oneOf, optional, shape, str } from "../fields.ts";
import { PARTIALS_LIMIT } from "../session/assembler.ts";

/** Open streams that OPEN and OPENED name. */
const STREAMS_LIMIT = 1_024;

const pair = list(count(), 2);
const streamField: Field<[number, number]> = (value, path) => {
  const [sequence = 0, next = 0] = pair(value, path);
  return [sequence, next];
};

/** Messages that a cut broke off, with the bytes that have come of them. */
const partialsField = optional(list(streamField, PARTIALS_LIMIT));

const openField = shape({
  to: str(256),
  from: str(256),
  inc: str(64),
  role: oneOf(...ROLES),
  session: str(64),
  rx: count(),
  streams: optional(list(streamField, STREAMS_LIMIT)),
  calls: partialsField,
  answers: partialsField,
  purpose: oneOf(...PURPOSES),
});
export type Open = Infer<typeof openField>;

const openedField = shape({
  inc: str(64),
  rx: count(),
  fresh: bool,
  streams: optional(list(streamField, STREAMS_LIMIT)),
  calls: partialsField,
  answers: partialsField,
});
export type Opened = Infer<typeof openedField>;

export function encodeOpen(open: Open): Uint8Array {
  return encodeControl({ ...open, ...lists(open) });
}

export function decodeOpen(header: Uint8Array): Open {
  return openField(decodeControl(header), "open");
}

export function encodeOpened(opened: Opened): Uint8Array {
  return encodeControl({ ...opened, ...lists(opened) });
}

export function decodeOpened(header: Uint8Array): Opened {
  return openedField(decodeControl(header), "opened");
}

/** Most sessions have none: they say nothing of them. */
function lists({ streams, calls, answers }: Pick<Open, "streams" | "calls" | "answers">) {
  const some = (list: [number, number][] | undefined) => (list?.length ? list : undefined);
  return { streams: streams?.slice(0, STREAMS_LIMIT), calls: some(calls), answers: some(answers) };
}
