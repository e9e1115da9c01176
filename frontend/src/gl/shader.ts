// The one fragment shader. What it does to labels has a twin in core/shade.ts, and a browser test holds the two together.

import { FLAG } from "../core/look";
import { PALETTE, QUALITY, SINGLE, type Rgb } from "../core/palette";
import { MOST_CHANNELS } from "../core/state";

export const MOST_LEVELS = 16;

const vec3 = (rgb: Rgb): string => `vec3(${rgb.map((value) => (value / 255).toFixed(6)).join(", ")})`;

export const VERTEX = `#version 300 es
void main() {
  // One triangle that covers the screen.
  gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

export const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
precision highp usampler2DArray;
precision highp sampler2DArray;

// Tiles of 512 x 512 in layers; a page table says which layer a tile is in: 0 nowhere, 65535 all zero, else layer + 1.
uniform usampler2DArray u_image; uniform usampler2D u_imagePages;
uniform usampler2DArray u_labels; uniform usampler2D u_labelPages;
uniform usampler2DArray u_candidates; uniform usampler2D u_candidatePages;
uniform sampler2DArray u_field; uniform usampler2D u_fieldPages;
uniform usampler2D u_state;  // by id: flags, colour slot + 1, class, score
uniform bool u_remapped;     // some id stands for another
uniform usampler2D u_remap;  // by id: 0 itself, else the id it stands for, + 1

uniform ivec2 u_shape;       // x, y
uniform int u_levels;
uniform int u_level;         // finest level worth reading
uniform int u_tableRows;
uniform int u_firstRow[${MOST_LEVELS}];

uniform ivec2 u_corner;      // image pixel at the top left of the screen ...
uniform vec2 u_offset;       // ... and where in it
uniform float u_scale;       // image pixels a device pixel
uniform float u_height;      // of the screen, device pixels
uniform vec3 u_background;

uniform int u_channelCount;
uniform int u_channel[${MOST_CHANNELS}];
uniform vec3 u_color[${MOST_CHANNELS}];
uniform vec3 u_range[${MOST_CHANNELS}];  // low, 1 / (high - low), gamma
uniform bool u_invert;

uniform bool u_showLabels;
uniform bool u_ghosts;
uniform int u_colorMode;     // 0 distinct, 1 class, 2 quality, 3 single
uniform float u_fill;
uniform float u_outline;
uniform float u_reach;       // width of the outline, image pixels
uniform usampler2D u_classes; // by class: its colour
uniform int u_overlay;       // 0 none, 1 cellprob, 2 flows

out vec4 o_color;

const vec3 PALETTE[${PALETTE.length}] = vec3[](${PALETTE.map(vec3).join(", ")});

uint hash(uint h) {
  h = (h ^ (h >> 16)) * 0x7feb352du;
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  return h ^ (h >> 16);
}

bool outside(ivec2 p) {
  return p.x < 0 || p.y < 0 || p.x >= u_shape.x || p.y >= u_shape.y;
}

uint page(usampler2D pages, int channel, int level, ivec2 q) {
  return texelFetch(pages, ivec2(q.x >> 9, channel * u_tableRows + u_firstRow[level] + (q.y >> 9)), 0).r;
}

uint pixel(usampler2DArray tiles, usampler2D pages, int channel, ivec2 p) {
  for (int level = u_level; level < u_levels; level++) {
    ivec2 q = p >> level;
    uint entry = page(pages, channel, level, q);
    if (entry == 65535u) return 0u;
    if (entry > 0u) return texelFetch(tiles, ivec3(q & 511, int(entry) - 1), 0).r;
  }
  return 0u;
}

uvec4 stateOf(uint id) {
  return texelFetch(u_state, ivec2(int(id & 4095u), int(id >> 12)), 0);
}

uint resolved(uint id) {
  if (!u_remapped) return id;
  uint entry = texelFetch(u_remap, ivec2(int(id & 4095u), int(id >> 12)), 0).r;
  return entry == 0u ? id : entry - 1u;
}

// Of the pixel that is drawn: its tile, and its page's entry, 0 unless it is of the finest level. Neighbours are mostly of it.
ivec2 g_tile;
uint g_entry;

uint rawAt(ivec2 p) {
  if (outside(p)) return 0u;
  ivec2 q = p >> u_level;
  if (g_entry > 0u && q >> 9 == g_tile) return g_entry == 65535u ? 0u : texelFetch(u_labels, ivec3(q & 511, int(g_entry) - 1), 0).r;
  return pixel(u_labels, u_labelPages, 0, p);
}

// The object that is shown at a pixel: of the labels, else a candidate that was discarded.
uint shownAt(ivec2 p, uint raw, out uvec4 state) {
  if (outside(p)) return 0u;
  uint id = raw > 0u ? resolved(raw) : 0u;
  if (id == 0u && u_ghosts) {
    uint entry = page(u_candidatePages, 0, 0, p);
    if (entry > 0u && entry < 65535u) id = texelFetch(u_candidates, ivec3(p & 511, int(entry) - 1), 0).r;
    if (id > 0u && stateOf(id).y == 0u) return 0u;  // not in the table of this plane any more
  }
  if (id == 0u) return 0u;
  state = stateOf(id);
  bool ghost = (state.x & ${FLAG.ghost}u) > 0u;
  return (state.x & ${FLAG.hidden}u) > 0u || (ghost && !u_ghosts) ? 0u : id;
}

vec3 colorOf(uint id, uvec4 state) {
  if (u_colorMode == 1) return vec3(texelFetch(u_classes, ivec2(int(state.z), 0), 0).rgb) / 255.0;
  if (u_colorMode == 2) {
    if (state.w == 255u || state.y == 0u) return vec3(0.6);
    float score = float(state.w) / 254.0;
    return score < 0.5 ? mix(${vec3(QUALITY[0])}, ${vec3(QUALITY[1])}, score * 2.0)
                       : mix(${vec3(QUALITY[1])}, ${vec3(QUALITY[2])}, score * 2.0 - 1.0);
  }
  if (u_colorMode == 3) return ${vec3(SINGLE)};
  return PALETTE[state.y > 0u ? int(state.y) - 1 : int(hash(id) % ${PALETTE.length}u)];
}

bool bordersAt(vec2 at, uint id, uint raw, float reach) {
  vec2 steps[4] = vec2[](vec2(reach, 0), vec2(-reach, 0), vec2(0, reach), vec2(0, -reach));
  for (int i = 0; i < 4; i++) {
    ivec2 p = u_corner + ivec2(floor(at + steps[i]));
    uint there = rawAt(p);
    if (there > 0u && there == raw) continue;  // within an object no table has to be asked
    uint other = there > 0u ? resolved(there) : 0u;
    if (other == id) continue;
    if (other > 0u || !u_ghosts) return true;  // shown or hidden, it is another
    uvec4 state;
    if (shownAt(p, there, state) != id) return true;
  }
  return false;
}

vec3 labelled(vec3 under, vec2 at, ivec2 p, vec2 screen) {
  g_tile = p >> (u_level + 9);
  g_entry = page(u_labelPages, 0, u_level, p >> u_level);
  uint raw = rawAt(p);
  uvec4 state;
  uint id = shownAt(p, raw, state);
  if (id == 0u) return under;
  if (raw > 0u && resolved(raw) != id) raw = 0u;  // a candidate where an object was deleted
  bool selected = (state.x & ${FLAG.selected}u) > 0u;
  bool border = bordersAt(at, id, raw, selected ? max(2.0 * u_reach, 2.0 * u_scale) : u_reach);
  if ((state.x & ${FLAG.ghost}u) > 0u) {
    bool dash = mod(screen.x + screen.y, 8.0) < 4.0;
    return border && (dash || selected) ? mix(under, vec3(selected ? 1.0 : 0.85), 0.7) : under;
  }
  vec3 color = colorOf(id, state);
  if (selected && border) return vec3(1.0);
  if (border && u_outline > 0.0) return mix(under, color, u_outline);
  float fill = selected ? max(u_fill, 0.25) : u_fill;
  if ((state.x & ${FLAG.locked}u) > 0u && mod(screen.x - screen.y, 10.0) < 1.5) fill = min(1.0, fill + 0.3);
  return mix(under, color, fill);
}

bool field(int channel, ivec2 p, out float value) {
  uint entry = page(u_fieldPages, channel, 0, p);
  if (entry == 0u || entry == 65535u) return false;
  value = texelFetch(u_field, ivec3(p & 511, int(entry) - 1), 0).r;
  return true;
}

vec3 overlaid(vec3 under, ivec2 p) {
  float a, b;
  if (u_overlay == 1 && field(0, p, a)) {
    float chance = 1.0 / (1.0 + exp(-a));
    vec3 cold = mix(vec3(0.10, 0.12, 0.35), vec3(0.85, 0.35, 0.30), smoothstep(0.0, 0.6, chance));
    return mix(under, mix(cold, vec3(1.0, 0.95, 0.65), smoothstep(0.5, 1.0, chance)), 0.7);
  }
  if (u_overlay == 2 && field(1, p, a) && field(2, p, b)) {
    float strength = min(1.0, length(vec2(a, b)));
    vec3 wheel = 0.5 + 0.5 * cos(atan(a, b) - vec3(0.0, 2.0944, 4.1888));
    return mix(under, wheel, 0.8 * strength);
  }
  return under;
}

void main() {
  vec2 screen = vec2(gl_FragCoord.x, u_height - gl_FragCoord.y);
  vec2 at = u_offset + screen * u_scale;
  ivec2 p = u_corner + ivec2(floor(at));
  if (outside(p)) {
    o_color = vec4(u_background, 1.0);
    return;
  }
  vec3 color = vec3(0.0);
  for (int i = 0; i < u_channelCount; i++) {
    float value = float(pixel(u_image, u_imagePages, u_channel[i], p));
    vec3 range = u_range[i];
    float light = clamp((value - range.x) * range.y, 0.0, 1.0);
    color += u_color[i] * (range.z == 1.0 ? light : pow(light, range.z));
  }
  color = min(color, vec3(1.0));
  if (u_invert) color = 1.0 - color;
  if (u_overlay > 0) color = overlaid(color, p);
  if (u_showLabels) color = labelled(color, at, p, floor(screen));
  o_color = vec4(color, 1.0);
}`;
