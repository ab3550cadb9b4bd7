// What is drawn of a crystal: atoms with their periodic images, bonds, polyhedra, the cell's edges.

const NEAR = 1e-3; // of the cell: an atom so near a face stands on the opposite face too
const REACH = 1.2; // bonds reach so far beyond the nearest neighbour of both ends
const MOST_ATOMS = 1500;

const add = (a, b) => a.map((x, i) => x + b[i]);
const sub = (a, b) => a.map((x, i) => x - b[i]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const length = (a) => Math.hypot(...a);
export const cartesian = (cell, f) =>
  [0, 1, 2].map((k) => f[0] * cell[0][k] + f[1] * cell[1][k] + f[2] * cell[2][k]);

export const mainSpecies = (site) => Object.keys(site).reduce((a, b) => (site[b] > site[a] ? b : a));

/** Positions within the cell, from 0 to 1 along each vector. */
const inside = (fractional) =>
  fractional.map((f) =>
    f.map((x) => {
      const w = ((x % 1) + 1) % 1;
      return w > 1 - NEAR ? 0 : w;
    }),
  );

/** Bonds of each site: {to, shift, vector}, found by how near neighbours of both ends are. */
export function bondsOf(crystal, elements) {
  const at = inside(crystal.fractional);
  const n = at.length;
  const span = n > 40 ? 1 : 2;
  const radius = crystal.species.map((site) => elements[mainSpecies(site)]?.radius ?? 1.5);
  const pairs = at.map(() => []);
  const nearest = at.map(() => Infinity);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      for (let a = -span; a <= span; a++)
        for (let b = -span; b <= span; b++)
          for (let c = -span; c <= span; c++) {
            if (i === j && !a && !b && !c) continue;
            const shift = [a, b, c];
            const vector = cartesian(crystal.cell, add(sub(at[j], at[i]), shift));
            const d = length(vector);
            if (d > 1.5 * (radius[i] + radius[j])) continue;
            pairs[i].push({ to: j, shift, vector, d });
            nearest[i] = Math.min(nearest[i], d);
          }
    }
  return pairs.map((some, i) => some.filter(({ to, d }) => d <= REACH * Math.min(nearest[i], nearest[to])));
}

/**
 * The atoms of a block of cells: {site, shift, place (fractional), position (Å), outer}.
 * With images, those on faces stand on all of them, and cations get all their neighbours.
 */
export function atomsOf(crystal, bonds, { reps = [1, 1, 1], images = true, complete = true }) {
  const at = inside(crystal.fractional);
  const found = new Map();
  const put = (site, shift, outer) => {
    const key = `${site},${shift}`;
    if (found.has(key) || found.size >= MOST_ATOMS) return;
    const place = add(at[site], shift);
    found.set(key, { site, shift, place, position: cartesian(crystal.cell, place), outer });
  };
  at.forEach((f, site) => {
    const ranges = f.map((x, k) =>
      Array.from({ length: reps[k] + (images && x < NEAR ? 1 : 0) }, (_, m) => m),
    );
    for (const a of ranges[0])
      for (const b of ranges[1])
        for (const c of ranges[2]) {
          put(site, [a, b, c], a >= reps[0] || b >= reps[1] || c >= reps[2]);
        }
  });
  const rank = ranks(crystal);
  if (images && complete)
    for (const atom of [...found.values()]) {
      if (!isCentre(atom.site, bonds, crystal, rank)) continue;
      for (const bond of bonds[atom.site]) put(bond.to, add(atom.shift, bond.shift), true);
    }
  return found;
}

/** Bonds between atoms that are drawn, each once, as pairs of their keys. */
export function drawnBonds(atoms, bonds) {
  const found = [];
  for (const [key, atom] of atoms)
    for (const bond of bonds[atom.site]) {
      const other = `${bond.to},${add(atom.shift, bond.shift)}`;
      if (key < other && atoms.has(other)) found.push([key, other]);
    }
  return found;
}

/** Coordination polyhedra of cations: the centre's key, and faces as lists of corners' keys. */
export function polyhedraOf(crystal, atoms, bonds) {
  const found = [];
  const rank = ranks(crystal);
  for (const [key, atom] of atoms) {
    if (!isCentre(atom.site, bonds, crystal, rank)) continue;
    const corners = bonds[atom.site].map((bond) => `${bond.to},${add(atom.shift, bond.shift)}`);
    if (!corners.every((corner) => atoms.has(corner))) continue;
    const faces = hull(corners.map((corner) => atoms.get(corner).position));
    found.push({ centre: key, faces: faces.map((face) => face.map((i) => corners[i])) });
  }
  return found;
}

/** How electronegative the main species of each site is, among those of the crystal. */
function ranks(crystal) {
  const order = Object.keys(crystal.composition);
  return crystal.species.map((site) => order.indexOf(mainSpecies(site)));
}

const isCentre = (site, bonds, crystal, rank) =>
  bonds[site].length >= 4 && bonds[site].length <= 12 && bonds[site].every(({ to }) => rank[to] > rank[site]);

/** Faces of the convex hull of a few points, each a polygon of their numbers in order. */
export function hull(points) {
  const faces = new Map();
  const n = points.length;
  const size = Math.max(...points.map((p) => length(sub(p, points[0])))) || 1;
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++)
      for (let k = j + 1; k < n; k++) {
        const normal = cross(sub(points[j], points[i]), sub(points[k], points[i]));
        const area = length(normal);
        if (area < 1e-4 * size * size) continue;
        const heights = points.map((p) => dot(normal, sub(p, points[i])) / area);
        const flat = 0.05 * size;
        if (heights.some((x) => x > flat) && heights.some((x) => x < -flat)) continue;
        const on = heights
          .map((x, m) => [x, m])
          .filter(([x]) => Math.abs(x) <= flat)
          .map(([, m]) => m);
        faces.set(on.join(), around(on, points, normal));
      }
  return [...faces.values()];
}

/** Corners of a flat polygon in order around its middle. */
function around(corners, points, normal) {
  const middle = corners.reduce((sum, i) => add(sum, points[i]), [0, 0, 0]).map((x) => x / corners.length);
  const u = sub(points[corners[0]], middle);
  const v = cross(normal, u).map((x) => x / length(normal));
  return corners
    .map((i) => [Math.atan2(dot(sub(points[i], middle), v), dot(sub(points[i], middle), u)), i])
    .sort((a, b) => a[0] - b[0])
    .map(([, i]) => i);
}

/** The edges of a block of cells, as pairs of fractional ends. */
export function edgesOf(reps) {
  const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((m) => [m & 1, (m >> 1) & 1, (m >> 2) & 1]);
  const found = [];
  for (let a = 0; a < reps[0]; a++)
    for (let b = 0; b < reps[1]; b++)
      for (let c = 0; c < reps[2]; c++) {
        corners.forEach((p, i) =>
          corners.forEach((q, j) => {
            if (i < j && p.filter((x, k) => x !== q[k]).length === 1)
              found.push([add(p, [a, b, c]), add(q, [a, b, c])]);
          }),
        );
      }
  const seen = new Map(found.map((edge) => [edge.join("|"), edge]));
  return [...seen.values()];
}
