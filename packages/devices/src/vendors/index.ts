import type { DevicePlugin } from "../plugin.ts";
import { ascend } from "./ascend.ts";
import { nvidia } from "./nvidia.ts";

/** All vendors, in the order in which a declared count takes their devices. A new vendor is one file and one line here. */
export const builtinPlugins: readonly DevicePlugin[] = [nvidia, ascend];
