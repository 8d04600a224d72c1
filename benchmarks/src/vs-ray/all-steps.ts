import { ENGINE_STEPS } from "./engine-steps.ts";
import { FAMILY_STEPS } from "./family.ts";
import { FAR_STEPS } from "./far-steps.ts";
import { GROWTH_STEPS } from "./growth-steps.ts";
import { OPEN_LOOP_STEPS } from "./open-loop.ts";
import { STEPS, type Start } from "./steps.ts";

/** Whipray's loop of each row, by `loopOf`. */
export const ALL_STEPS: Readonly<Record<string, Start>> = {
  ...STEPS,
  ...ENGINE_STEPS,
  ...FAMILY_STEPS,
  ...OPEN_LOOP_STEPS,
  ...FAR_STEPS,
  ...GROWTH_STEPS,
};
