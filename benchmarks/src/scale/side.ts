import { measureScale } from "./figures.ts";

// node --expose-gc side.ts NODES CHANGES: one size, in a process of its own, because of its memory. Prints its figures.
const [nodes = 10, changes = 100] = process.argv.slice(2).map(Number);
console.log(JSON.stringify(measureScale(nodes, changes, () => void globalThis.gc?.())));
