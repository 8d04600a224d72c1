/** Label → what it must be: `value`, `!value`, `in(a,b)` or `!in(a,b)` (ray.md 1.4). */
export type LabelSelector = Readonly<Record<string, string>>;

/** Whether a node's labels meet a selector. A negated condition also holds for a node without the label. */
export function matchesLabels(labels: Readonly<Record<string, string>>, selector: LabelSelector | undefined): boolean {
  if (!selector) return true;
  return Object.entries(selector).every(([key, condition]) => {
    const negated = condition.startsWith("!");
    const rest = negated ? condition.slice(1) : condition;
    const values = /^in\((.*)\)$/s.exec(rest)?.[1]?.split(",") ?? [rest];
    const have = Object.hasOwn(labels, key) ? labels[key] : undefined;
    const matches = have !== undefined && values.some((value) => value.trim() === have);
    return matches !== negated;
  });
}

/** `{ zone: "a" }` as people read it: `zone=a`. */
export function showLabels(selector: LabelSelector): string {
  return Object.entries(selector)
    .map(([key, condition]) => `${key}=${condition}`)
    .join(", ");
}
