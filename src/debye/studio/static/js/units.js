// Units of frequency, and numbers as they are read.

export const UNITS = {
  "cm-1": { label: "cm⁻¹", factor: 1 },
  THz: { label: "THz", factor: 0.0299792458 },
  meV: { label: "meV", factor: 0.12398419843320026 },
};

/** A number of so many digits, with the true minus and thin spaces where it is long. */
export function number(value, digits = 4) {
  if (value == null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-3 || size >= 1e6)
      ? value
          .toExponential(digits - 1)
          .replace(/\.?0+e/, "e")
          .replace(/e\+?(-?)(\d+)/, (_, sign, power) => ` × 10${raised(sign + power)}`)
      : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}

/** A value and its error, both to the error's two digits: 0.0124 ± 0.0006. */
export function withError(value, error) {
  if (!Number.isFinite(value) || !Number.isFinite(error) || !(error > 0))
    return `${number(value)} ± ${number(error, 2)}`;
  const power = Math.floor(Math.log10(error));
  const size = Math.floor(Math.log10(Math.max(Math.abs(value), error)));
  const scaled = size < -3 || size > 5;
  const unit = scaled ? 10 ** size : 1;
  const places = Math.min(9, Math.max(0, 1 - power + (scaled ? size : 0)));
  const pair = [value, error].map((v) => (v / unit).toFixed(places)).join(" ± ").replaceAll("-", "−");
  return scaled ? `(${pair}) × 10${raised(size)}` : pair;
}

export const raised = (text) => [...String(text)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("");
const lowered = (text) => [...text].map((c) => "₀₁₂₃₄₅₆₇₈₉"[c] ?? c).join("");

/** SiO2 as SiO₂. */
export const formula = (text) => text.replace(/\d+(\.\d+)?/g, (digits) => lowered(digits));

/** Γ for G, as the field writes it. */
export const pointLabel = (label) => (label === "G" ? "Γ" : label);

/** The value of a table at x, by straight lines. */
export function interpolated(xs, ys, x) {
  let i = xs.findIndex((at) => at >= x);
  if (i < 0) return ys[ys.length - 1];
  if (i === 0) return ys[0];
  const part = (x - xs[i - 1]) / (xs[i] - xs[i - 1]);
  return ys[i - 1] + part * (ys[i] - ys[i - 1]);
}

/** Round values within limits, about so many. */
export function ticks(low, high, count = 5) {
  const raw = (high - low) / count || 1;
  const digit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * digit).find((size) => size >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-12) + 1e-12; i++)
    found.push(i * step);
  return found;
}

export function logTicks(low, high) {
  const found = [];
  for (let p = Math.ceil(Math.log10(low) - 1e-9); 10 ** p <= high * 1.0001; p++) found.push(10 ** p);
  return found;
}
