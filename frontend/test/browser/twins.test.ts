import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type Browser } from "playwright-core";
import { createServer, type ViteDevServer } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

// As tests/e2e finds it; a shared build must have one.
const PROGRAMS = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const folders = (process.env.PATH ?? "").split(delimiter);
const CHROMIUM =
  process.env.CELLBROOK_CHROMIUM ?? PROGRAMS.flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync) ?? "";

interface Outcome {
  outcome: { wrong: number; worst: number; first: string; frame: string }[];
  texels: { patch: number; tables: number };
  parts: { changed: number; wrong: number }[];
  error: number;
}

describe.skipIf(CHROMIUM === "" && !process.env.CI)("the shader, in a real browser", () => {
  let server: ViteDevServer;
  let browser: Browser;
  let found: Outcome;

  beforeAll(async () => {
    server = await createServer({ root: new URL("../..", import.meta.url).pathname, logLevel: "error", server: { port: 0, host: "127.0.0.1" } });
    await server.listen();
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--enable-unsafe-swiftshader"] });
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    await page.goto(`${server.resolvedUrls?.local[0]}test/browser/twins.html`);
    await page.waitForFunction(() => "outcome" in window, null, { timeout: 120_000 }).catch(() => {
      throw new Error(errors.join("\n") || "the page did not finish");
    });
    found = await page.evaluate(() => {
      const { outcome, texels, parts, error } = window as unknown as Outcome;
      return { outcome, texels, parts, error };
    });
    if (process.env.SHOT) await page.screenshot({ path: process.env.SHOT });
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  it("draws what its twin says, at every zoom and style", () => {
    expect(found.outcome.filter(({ wrong }) => wrong > 0)).toEqual([]);
  });

  it("draws of a changed picture what changed, and the same as if all were drawn", () => {
    expect(found.parts.filter(({ changed, wrong }) => wrong > 0 || changed === 0)).toEqual([]);
  });

  it("makes no WebGL error", () => {
    expect(found.error).toBe(0);
  });

  it("sends a patch of pixels and single ids, nothing more", () => {
    expect(found.texels).toEqual({ patch: 64 * 64, tables: 2 });
  });
});
