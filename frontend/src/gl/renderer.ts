// WebGL2: holds the textures, draws a frame. It knows nothing of the session; gl/stage.ts tells it what to show.

import { STATE_WIDTH } from "../core/look";
import type { ChannelLook } from "../core/shown";
import type { Capacity } from "../core/picture";
import type { Pyramid } from "../core/pyramid";
import type { Rgb } from "../core/palette";
import { MOST_CHANNELS } from "../core/state";
import type { Box } from "../core/wire";
import { FRAGMENT, VERTEX } from "./shader";
import { formats, IdTable, PagedTexture } from "./textures";

export interface Frame {
  corner: [y: number, x: number]; // image position at the top left of the screen
  zoom: number; // device pixels an image pixel
  background: Rgb;
  channels: readonly ChannelLook[]; // MOST_CHANNELS at most
  invert: boolean;
  showLabels: boolean;
  ghosts: boolean;
  colorMode: 0 | 1 | 2 | 3;
  fill: number;
  outline: number;
  outlineWidth: number; // device pixels
  classColors: readonly Rgb[]; // by class, 0 to 255
  overlay: 0 | 1 | 2;
}

export class NoWebGL2 extends Error {}

export class Renderer {
  readonly gl: WebGL2RenderingContext;
  readonly state: IdTable;
  private readonly remapTable: IdTable;
  private readonly classTable: IdTable;
  private classColors: readonly Rgb[] | null = null; // those in it
  private remap = new Uint32Array(STATE_WIDTH);
  private remapped = false;
  private readonly uniforms = new Map<string, WebGLUniformLocation | null>();
  private readonly program: WebGLProgram;
  private pyramid: Pyramid | null = null;
  image!: PagedTexture;
  labels!: PagedTexture;
  candidates!: PagedTexture;
  field!: PagedTexture;

  constructor(private readonly canvas: HTMLCanvasElement | OffscreenCanvas) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true });
    if (gl === null) {
      throw new NoWebGL2(
        "This browser has no WebGL 2, which draws the picture: update it, or switch hardware acceleration on in its settings.",
      );
    }
    this.gl = gl as WebGL2RenderingContext;
    this.program = compile(this.gl);
    this.state = new IdTable(this.gl, formats(this.gl).rgba8);
    this.state.fill(new Uint8Array(STATE_WIDTH * 4), 1);
    this.remapTable = new IdTable(this.gl, formats(this.gl).u32);
    this.remapTable.fill(this.remap, 1);
    this.classTable = new IdTable(this.gl, formats(this.gl).rgba8);
  }

  /** Room for another image. */
  open(pyramid: Pyramid, channels: number, bits: 8 | 16, capacity: Capacity): void {
    const kinds = formats(this.gl);
    this.pyramid = pyramid;
    this.image = new PagedTexture(this.gl, pyramid.withChannels(channels), bits === 8 ? kinds.u8 : kinds.u16, capacity.image, this.image);
    this.labels = new PagedTexture(this.gl, pyramid, kinds.u32, capacity.labels, this.labels);
    this.candidates = new PagedTexture(this.gl, pyramid, kinds.u32, capacity.candidates, this.candidates);
    this.field = new PagedTexture(this.gl, pyramid.withChannels(3), kinds.f16, capacity.field, this.field);
    this.remap = new Uint32Array(STATE_WIDTH);
    this.remapped = false;
    this.remapTable.fill(this.remap, 1);
  }

  setState(bytes: Uint8Array, changed: readonly number[] | null): void {
    if (changed === null || bytes.length / 4 !== this.state.capacity) this.state.fill(bytes, bytes.length / 4 / STATE_WIDTH);
    else this.state.update(changed, bytes, 4);
  }

  setRemap(ids: readonly number[], resolve: (id: number) => number): void {
    const largest = ids.reduce((a, b) => Math.max(a, b), 0);
    if (largest >= this.remap.length) {
      const grown = new Uint32Array((Math.floor(largest / STATE_WIDTH) + 1) * STATE_WIDTH);
      grown.set(this.remap);
      this.remap = grown;
    }
    this.remapped ||= ids.length > 0;
    for (const id of ids) this.remap[id] = resolve(id) === id ? 0 : resolve(id) + 1;
    if (this.remap.length !== this.remapTable.capacity) this.remapTable.fill(this.remap, this.remap.length / STATE_WIDTH);
    else this.remapTable.update(ids, this.remap, 1);
  }

  /** Draw the window, or of an otherwise unchanged one only what shows these boxes of the image. */
  draw(frame: Frame, boxes: readonly Box[] | null = null): void {
    const { gl, canvas } = this;
    gl.viewport(0, 0, canvas.width, canvas.height);
    if (this.pyramid === null) {
      gl.clearColor(frame.background[0] / 255, frame.background[1] / 255, frame.background[2] / 255, 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
      return;
    }
    gl.useProgram(this.program);
    this.setClassColors(frame.classColors);
    this.bindTextures();
    this.setUniforms(frame, this.pyramid);
    const parts = boxes?.map((box) => onScreen(box, frame, canvas.width, canvas.height)).filter(({ width, height }) => width > 0 && height > 0);
    // Boxes that overlap would be drawn twice.
    if (!parts || parts.reduce((sum, { width, height }) => sum + width * height, 0) >= canvas.width * canvas.height) {
      gl.drawArrays(gl.TRIANGLES, 0, 3);
      return;
    }
    gl.enable(gl.SCISSOR_TEST);
    for (const { left, bottom, width, height } of parts) {
      gl.scissor(left, bottom, width, height);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
    gl.disable(gl.SCISSOR_TEST);
  }

  private setClassColors(colors: readonly Rgb[]): void {
    if (colors === this.classColors) return;
    this.classColors = colors;
    const bytes = new Uint8Array(STATE_WIDTH * 4);
    colors.forEach((rgb, id) => bytes.set(rgb, id * 4));
    this.classTable.fill(bytes, 1);
  }

  private bindTextures(): void {
    this.image.bind(0);
    this.labels.bind(2);
    this.candidates.bind(4);
    this.field.bind(6);
    this.state.bind(8);
    this.remapTable.bind(9);
    this.classTable.bind(10);
    const names = ["image", "imagePages", "labels", "labelPages", "candidates", "candidatePages", "field", "fieldPages", "state", "remap", "classes"];
    names.forEach((name, unit) => this.gl.uniform1i(this.at(name), unit));
  }

  private setUniforms(frame: Frame, pyramid: Pyramid): void {
    const { gl } = this;
    const [y, x] = frame.corner;
    gl.uniform2i(this.at("shape"), pyramid.shape[1], pyramid.shape[0]);
    gl.uniform1i(this.at("levels"), pyramid.levels);
    gl.uniform1i(this.at("level"), pyramid.levelAt(frame.zoom));
    gl.uniform1i(this.at("tableRows"), pyramid.tableRows);
    gl.uniform1iv(this.at("firstRow"), pyramid.firstRow as number[]);
    gl.uniform2i(this.at("corner"), Math.floor(x), Math.floor(y));
    gl.uniform2f(this.at("offset"), x - Math.floor(x), y - Math.floor(y));
    gl.uniform1f(this.at("scale"), 1 / frame.zoom);
    gl.uniform1f(this.at("height"), this.canvas.height);
    gl.uniform3fv(this.at("background"), unit(frame.background));

    // What is not here yet need not be looked for at each pixel.
    const channels = this.image.blank ? [] : frame.channels.slice(0, MOST_CHANNELS);
    gl.uniform1i(this.at("channelCount"), channels.length);
    if (channels.length > 0) {
      gl.uniform1iv(this.at("channel"), channels.map(({ channel }) => channel));
      gl.uniform3fv(this.at("color"), channels.flatMap(({ color }) => unit(color)));
      gl.uniform3fv(this.at("range"), channels.flatMap(({ low, high, gamma }) => [low, 1 / Math.max(high - low, 1e-6), gamma]));
    }
    gl.uniform1i(this.at("invert"), frame.invert ? 1 : 0);

    gl.uniform1i(this.at("showLabels"), frame.showLabels && !(this.labels.blank && this.candidates.blank) ? 1 : 0);
    gl.uniform1i(this.at("ghosts"), frame.ghosts && !this.candidates.blank ? 1 : 0);
    gl.uniform1i(this.at("colorMode"), frame.colorMode);
    gl.uniform1f(this.at("fill"), frame.fill);
    gl.uniform1f(this.at("outline"), frame.outline);
    gl.uniform1f(this.at("reach"), frame.outlineWidth / frame.zoom);
    gl.uniform1i(this.at("overlay"), frame.overlay);
    gl.uniform1i(this.at("remapped"), this.remapped ? 1 : 0);
  }

  private at(name: string): WebGLUniformLocation | null {
    let location = this.uniforms.get(name);
    if (location === undefined) {
      location = this.gl.getUniformLocation(this.program, `u_${name}`);
      this.uniforms.set(name, location);
    }
    return location;
  }
}

/** Device pixels that may show anything of a box, with the outlines that reach out of it; counted from the bottom left. */
function onScreen([y0, x0, y1, x1]: Box, { corner: [y, x], zoom, outlineWidth }: Frame, columns: number, rows: number) {
  const around = Math.ceil(Math.max(2 * outlineWidth, 2)) + 1;
  const left = Math.max(0, Math.floor((x0 - x) * zoom) - around);
  const top = Math.max(0, Math.floor((y0 - y) * zoom) - around);
  const right = Math.min(columns, Math.ceil((x1 - x) * zoom) + around);
  const bottom = Math.min(rows, Math.ceil((y1 - y) * zoom) + around);
  return { left, bottom: rows - bottom, width: right - left, height: bottom - top };
}

const unit = (rgb: Rgb): number[] => rgb.map((value) => value / 255);

function compile(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(type) as WebGLShader;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader) ?? "shader");
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "program");
  return program;
}
