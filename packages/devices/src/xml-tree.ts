import type { WarningList } from "./warning-list.ts";

const PARSE_LIMIT_CHARS = 1_048_576;
const NODE_LIMIT = 50_000;
const DEPTH_LIMIT = 32;
const TAG = /<(\/?)([A-Za-z_][\w.-]{0,63})([^<>]{0,512}?)(\/?)>/g;

/** One element: its own text, and its children in order. */
export class XmlNode {
  readonly name: string;
  readonly children: XmlNode[] = [];
  text = "";

  constructor(name: string) {
    this.name = name;
  }

  all(name: string): XmlNode[] {
    return this.children.filter((child) => child.name === name);
  }

  /** Text at the end of a path of names; undefined where a name is missing. */
  at(...path: string[]): string | undefined {
    let node: XmlNode | undefined = this;
    for (const name of path) node = node?.children.find((child) => child.name === name);
    return node?.text.trim();
  }
}

/**
 * Elements and texts of a tool's XML; all else (declaration, DTD, attributes, entities) is skipped, so that nothing is ever
 * resolved. A damaged end leaves what came before it. Never throws.
 */
export function parseXml(text: string, warnings: WarningList): XmlNode {
  const root = new XmlNode("");
  const open = [root];
  let nodes = 0;
  let from = 0;
  if (text.length > PARSE_LIMIT_CHARS) warnings.add(`output cut at ${PARSE_LIMIT_CHARS} characters`);
  for (const match of text.slice(0, PARSE_LIMIT_CHARS).matchAll(TAG)) {
    const [tag, closing, name, , empty] = match;
    const top = open.at(-1)!;
    top.text += text.slice(from, match.index);
    from = match.index + tag.length;
    if (closing) {
      if (top.name !== name) break;
      open.pop();
      continue;
    }
    if (++nodes > NODE_LIMIT || open.length > DEPTH_LIMIT) break;
    const node = new XmlNode(name!);
    top.children.push(node);
    if (!empty) open.push(node);
  }
  if (open.length > 1) warnings.add(`XML ends inside of <${open.at(-1)!.name}>`);
  return root;
}
