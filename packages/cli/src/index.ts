export { EXIT, exitCodeOf } from "./exit-code.ts";
export { runMain } from "./run-main.io.ts";
