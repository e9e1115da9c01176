import { RequestError, type Http } from "../core/http";
import type { Store } from "../core/session";

export class FetchHttp implements Http {
  constructor(private readonly base: string) {}

  url(path: string): string {
    return new URL(path, this.base).href;
  }

  async json<T>(path: string): Promise<T> {
    return (await (await this.request(path)).json()) as T;
  }

  async bytes(path: string, abort?: AbortSignal): Promise<ArrayBuffer | null> {
    const response = await this.request(path, abort ? { signal: abort } : {});
    return response.status === 204 ? null : response.arrayBuffer();
  }

  async upload<T>(path: string, files: readonly File[]): Promise<T> {
    const body = new FormData();
    for (const file of files) {
      // A browser tells of a file that it cannot read as of a server that does not answer.
      await file.slice(0, 1).arrayBuffer().catch(() => {
        throw new Error(`${file.name} cannot be read: is it a folder, or was it moved?`);
      });
      body.append("files", file, file.name);
    }
    return (await (await this.request(path, { method: "POST", body })).json()) as T;
  }

  async remove(path: string): Promise<void> {
    await this.request(path, { method: "DELETE" });
  }

  private async request(path: string, options: RequestInit = {}): Promise<Response> {
    const response = await fetch(this.url(path), { credentials: "same-origin", ...options }).catch(() => {
      throw new Error("The server does not answer; try again when it is back");
    });
    if (!response.ok) throw new RequestError(response.status, (await response.text()) || response.statusText);
    return response;
  }
}

export class BrowserStore implements Store {
  get(key: string): string | null {
    return localStorage.getItem(`cellbrook.${key}`);
  }

  set(key: string, value: string): void {
    localStorage.setItem(`cellbrook.${key}`, value);
  }
}
