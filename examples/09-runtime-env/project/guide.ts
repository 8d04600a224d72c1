import { readFileSync } from "node:fs";

/** Relative to the working directory, which is a copy of this one. */
function cities(): string[] {
  return readFileSync("data/cities.txt", "utf8").trim().split("\n");
}

export class Guide {
  greet(index: number): string {
    return `${process.env["GREETING"]} ${cities()[index]}`;
  }
}

export function countCities(): number {
  return cities().length;
}
