// Regions that people draw and name: what is drawn is shown at once, what is in them the server counts.

import type { Box, DrawnRegion, Point, Region } from "./wire";

/** The regions after an edit; what is in those that it changed is not known any more. */
export function withDrawn(regions: readonly Region[], drawn: readonly DrawnRegion[]): Region[] {
  const found: Region[] = regions.map((region) => ({ ...region, parts: [...region.parts] }));
  for (const { id, name, polygons } of drawn) {
    const before = found.find(({ parts }) => parts.some((part) => part.id === id));
    const same = before?.name === name && polygons.length > 0;
    for (const region of before && !same ? [before] : []) forget(region, region.parts.filter((part) => part.id !== id));
    if (polygons.length === 0) continue;
    let region = found.find((other) => other.name === name);
    if (!region) found.push((region = { name, parts: [] }));
    forget(region, same ? region.parts.map((part) => (part.id === id ? { id, polygons } : part)) : [...region.parts, { id, polygons }]);
  }
  return found.filter(({ parts }) => parts.length > 0);
}

function forget(region: Region, parts: Region["parts"]): void {
  region.parts = parts;
  for (const key of ["objects", "area_px", "area_um2", "objects_per_mm2", "covered"] as const) delete region[key];
}

/** "Region 1", or the first number that no region has. */
export function freshName(regions: readonly Region[]): string {
  const taken = new Set(regions.map(({ name }) => name));
  for (let k = 1; ; k++) if (!taken.has(`Region ${k}`)) return `Region ${k}`;
}

/** What encloses all of a region. */
export function boxOfRegion({ parts }: Region): Box {
  const points = parts.flatMap(({ polygons }) => polygons.flatMap(([outline]) => outline));
  const [ys, xs] = [points.map(([y]) => y), points.map(([, x]) => x)];
  const least = (values: number[]): number => values.reduce((a, b) => Math.min(a, b));
  const most = (values: number[]): number => values.reduce((a, b) => Math.max(a, b));
  return [least(ys), least(xs), most(ys), most(xs)];
}

/** An SVG path of polygons, in image pixels; even-odd filling gives their inside. */
export function pathOf(polygons: readonly Point[][][]): string {
  return polygons.flat().map((ring) => `M${ring.map(([y, x]) => `${x} ${y}`).join("L")}Z`).join("");
}

/** Where the name of a region stands: above the middle of what was drawn. */
export function anchorOf(polygons: Point[][][]): Point {
  const [y0, x0, , x1] = boxOfRegion({ name: "", parts: [{ id: "", polygons }] });
  return [y0, (x0 + x1) / 2];
}
