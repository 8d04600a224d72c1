/** A product's name as a value of `accelerator_type`: letters, digits, `.`, `_`, `-`, at most 63; never empty. */
export function typeOfName(name: string, fallback: string): string {
  const type = name
    .replace(/\((R|TM|C)\)/gi, "")
    .replace(/[^A-Za-z0-9._]+/g, "-")
    .replace(/^[-._]+/, "")
    .slice(0, 63)
    .replace(/[-._]+$/, "");
  return type || fallback;
}
