// How atoms move in a mode: u(R) = Re[e / √m · e^{2πi q·(R + τ) − iωt}], the phase of the whole
// way to the atom and not of its cell alone.

/** One mode as it is drawn: {q, vectors: [[[re, im] × 3] × n], masses, frequency, label}. */
export function modeOf(modes, branch, masses) {
  const vectors = modes.real[branch].map((row, i) => row.map((re, k) => [re, modes.imaginary[branch][i][k]]));
  return { q: modes.q, vectors, masses, frequency: modes.frequency[branch], branch };
}

/** Complex amplitudes of an atom, [[re, im] × 3], u/√(amu): e/√m at its place. */
export function amplitude(mode, site, place) {
  const angle = 2 * Math.PI * (mode.q[0] * place[0] + mode.q[1] * place[1] + mode.q[2] * place[2]);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const root = Math.sqrt(mode.masses[site]);
  return mode.vectors[site].map(([re, im]) => [(re * c - im * s) / root, (re * s + im * c) / root]);
}

/** The factor by which the largest motion of the atoms becomes so many Å. */
export function scaleTo(mode, reach) {
  const largest = Math.max(
    ...mode.vectors.map((vector, i) => Math.hypot(...vector.flat()) / Math.sqrt(mode.masses[i])),
  );
  return reach / (largest || 1);
}

/** Displacement at a phase ωt of the motion, Å. */
export const displaced = (amplitudes, scale, phase) => {
  const [c, s] = [Math.cos(phase), Math.sin(phase)];
  return amplitudes.map(([re, im]) => scale * (re * c + im * s));
};
