/** Plain requests to the server. Addresses are relative to the page's. */
export interface Http {
  url(path: string): string;
  json<T>(path: string): Promise<T>;
  /** `null` where the server has nothing (204). */
  bytes(path: string, abort?: AbortSignal): Promise<ArrayBuffer | null>;
  upload(path: string, files: readonly File[]): Promise<void>;
  remove(path: string): Promise<void>;
}
