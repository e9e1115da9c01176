// What the settings of the view mean for whatever draws the picture.

import { parseColor, type Rgb } from "./palette";
import type { Signals } from "./signals";
import type { LabelColor } from "./state";

const NO_CLASS: Rgb = [150, 155, 160];

export const COLOR_MODES: Record<LabelColor, 0 | 1 | 2 | 3> = { distinct: 0, class: 1, quality: 2, single: 3 };

/** How a channel is drawn; the range is of values as they are sent. */
export interface ChannelLook {
  channel: number;
  color: Rgb;
  low: number;
  high: number;
  gamma: number;
}

export function channelLooks(session: Signals): ChannelLook[] {
  const image = session.image.peek();
  if (!image) return [];
  const asSent = (raw: number): number => (raw - image.value_offset) / image.value_scale;
  return session.channels.peek().flatMap((channel, index) =>
    channel.visible
      ? [{ channel: index, color: parseColor(channel.color), low: asSent(channel.low), high: asSent(channel.high), gamma: channel.gamma }]
      : [],
  );
}

/** The colour of each class that there can be. */
export function classColors(session: Signals): Rgb[] {
  const colors = Array.from({ length: 256 }, () => NO_CLASS);
  for (const { id, color } of session.classes.value) colors[id] = parseColor(color);
  return colors;
}
