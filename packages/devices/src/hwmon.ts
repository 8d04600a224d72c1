import type { DeviceStats } from "./device.ts";
import type { Probe } from "./probe.ts";

/** Sensors of the kernel: temperature in 1/1 000 °C, power in 1/1 000 000 W (the kernel's sysfs interface of hwmon). */
export async function hwmonFigures(
  probe: Probe,
  folder: string,
): Promise<Pick<DeviceStats, "temperatureC" | "powerW">> {
  const { entries = [] } = await probe.list(folder);
  const name = entries.map((entry) => entry.name).find((entry) => /^hwmon\d{1,4}$/.test(entry));
  if (name === undefined) return {};
  const read = async (file: string, scale: number): Promise<number | undefined> => {
    const text = (await probe.read(`${folder}/${name}/${file}`))?.trim();
    return text !== undefined && /^\d{1,12}$/.test(text) ? Number(text) / scale : undefined;
  };
  const temperatureC = await read("temp1_input", 1_000);
  const powerW = (await read("power1_input", 1_000_000)) ?? (await read("power1_average", 1_000_000));
  return { ...(temperatureC !== undefined && { temperatureC }), ...(powerW !== undefined && { powerW }) };
}
