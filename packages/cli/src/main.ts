#!/usr/bin/env node
import { endWith } from "./process-end.io.ts";
import { runMain } from "./run-main.io.ts";

await endWith(runMain);
