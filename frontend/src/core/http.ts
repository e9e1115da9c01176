/** Plain requests to the server. Addresses are relative to the page's. */
export interface Http {
  url(path: string): string;
  json<T>(path: string): Promise<T>;
  /** `null` where the server has nothing (204). */
  bytes(path: string, abort?: AbortSignal): Promise<ArrayBuffer | null>;
  upload<T>(path: string, files: readonly File[]): Promise<T>;
  remove(path: string): Promise<void>;
}

const MOST_FILES = 20; // of a request: the server takes a thousand, but tells of none before it has them all
const MOST_BYTES = 500e6; // of a request, but for a file that is larger

/** Files in parts of a request each. */
export function* portions(files: readonly File[]): Generator<File[]> {
  let part: File[] = [];
  let bytes = 0;
  for (const file of files) {
    if (part.length === MOST_FILES || (part.length > 0 && bytes + file.size > MOST_BYTES)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(file);
    bytes += file.size;
  }
  if (part.length > 0) yield part;
}

/** What a failed request says, as the server words it. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }

  /** Asking again would be answered the same; but a key to the server (401, 403) and its leisure (408, 429) may come back. */
  get lasting(): boolean {
    return this.status === 507 || (this.status >= 400 && this.status < 500 && ![401, 403, 408, 429].includes(this.status));
  }
}
