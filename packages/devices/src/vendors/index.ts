import type { DevicePlugin } from "../plugin.ts";
import { amd } from "./amd.ts";
import { apple } from "./apple.ts";
import { ascend } from "./ascend.ts";
import { biren } from "./biren.ts";
import { cambricon } from "./cambricon.ts";
import { furiosa } from "./furiosa.ts";
import { gaudi } from "./gaudi.ts";
import { hygon } from "./hygon.ts";
import { iluvatar } from "./iluvatar.ts";
import { intelGpu } from "./intel-gpu.ts";
import { metax } from "./metax.ts";
import { mobilint } from "./mobilint.ts";
import { mooreThreads } from "./moore-threads.ts";
import { neuron } from "./neuron.ts";
import { nvidia } from "./nvidia.ts";
import { rebellions } from "./rebellions.ts";
import { tenstorrent } from "./tenstorrent.ts";
import { tpu } from "./tpu.ts";

/** All vendors, in the order in which a declared count takes their devices. A new vendor is one file and one line here. */
export const builtinPlugins: readonly DevicePlugin[] = [
  ...[nvidia, amd, intelGpu, apple, metax, mooreThreads, cambricon, hygon, iluvatar, biren],
  ...[ascend, gaudi, neuron, tpu, rebellions, furiosa, tenstorrent, mobilint],
];
