// The field's colours, made visible on the ground that they are drawn on.

import { isDark } from "./dom.js";

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
export const joined = (rgb) =>
  `#${rgb
    .map((c) =>
      Math.round(Math.min(255, Math.max(0, c)))
        .toString(16)
        .padStart(2, "0"),
    )
    .join("")}`;

/** A colour on the way to another. */
export const mixed = (a, b, part) => {
  const [x, y] = [channels(a), channels(b)];
  return joined(x.map((c, i) => c + part * (y[i] - c)));
};

const linear = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const luminance = (hex) => {
  const [r, g, b] = channels(hex).map(linear);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
/** How two colours stand out from each other, from 1 to 21. */
export const contrast = (a, b) => {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};

export const ground = () => (isDark() ? "#14181d" : "#ffffff");

/** A colour that stands out from the ground as lines must, 3 to 1. */
export function visible(hex) {
  const [under, to] = [ground(), isDark() ? "#ffffff" : "#000000"];
  for (let part = 0; part < 1; part += 0.08) {
    const tried = mixed(hex, to, part);
    if (contrast(tried, under) >= 3) return tried;
  }
  return to;
}

const OTHERS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8E57ED", "#7F8608"];
/** A colour for each of several curves. */
export const ofNumber = (i) => visible(OTHERS[i % OTHERS.length]);

const STOPS = [
  "#440154",
  "#482878",
  "#3e4a89",
  "#31688e",
  "#26828e",
  "#1f9e89",
  "#35b779",
  "#6ece58",
  "#b5de2b",
  "#fde725",
];
/** The 256 colours of viridis, as bytes r, g, b. */
export const VIRIDIS = Uint8Array.from({ length: 768 }, (_, k) => {
  const at = (Math.floor(k / 3) / 255) * (STOPS.length - 1);
  const i = Math.min(STOPS.length - 2, Math.floor(at));
  return Math.round(
    channels(STOPS[i])[k % 3] + (at - i) * (channels(STOPS[i + 1])[k % 3] - channels(STOPS[i])[k % 3]),
  );
});
