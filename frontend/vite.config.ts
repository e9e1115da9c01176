import { defineConfig } from "vitest/config";

// The server gives index.html at its base address and everything else under static/; all addresses are relative, so that
// the page works under a proxy's path.
export default defineConfig({
  base: "./",
  experimental: {
    renderBuiltUrl: (file, { hostType }) => (hostType === "html" ? `static/${file}` : { relative: true }),
  },
  build: { outDir: "../src/cellbrook/server/static", emptyOutDir: true, target: "es2022" },
  server: {
    proxy: {
      "/api": "http://127.0.0.1:8765",
      "/ws": { target: "ws://127.0.0.1:8765", ws: true },
    },
  },
  test: { include: ["test/**/*.test.ts"], exclude: ["test/browser/**"] },
});
