/** Plain requests to the server. Addresses are relative to the page's. */
export interface Http {
  url(path: string): string;
  json<T>(path: string): Promise<T>;
  /** `null` where the server has nothing (204). */
  bytes(path: string, abort?: AbortSignal): Promise<ArrayBuffer | null>;
  upload<T>(path: string, files: readonly File[]): Promise<T>;
  remove(path: string): Promise<void>;
}

/** What a failed request says, as the server words it. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}
