// What was dropped onto the page: files, and the files in folders.

/** Files by themselves, files in folders, and the names of what cannot be sent, and why. */
export interface Dropped {
  files: File[];
  inside: File[];
  left: string[];
}

const ZARR_FILES = new Set(["zarr.json", ".zgroup", ".zattrs", ".zarray"]);

/** To be called while the browser tells of the drop: afterwards it has forgotten the folders. */
export async function dropped(transfer: DataTransfer): Promise<Dropped> {
  const found: Dropped = { files: [], inside: [], left: [] };
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  // what comes from another page, such as a picture, is a file without a place
  found.files.push(...items.filter((item) => item.webkitGetAsEntry() === null).flatMap((item) => item.getAsFile() ?? []));
  for (const entry of entries) await take(entry, found, found.files);
  if (found.files.length + found.inside.length + found.left.length === 0) found.left.push(...entries.map(({ name }) => `${name}: there is no file in it`));
  return found;
}

/** Folders as the server reads them: hidden files are none of their images, and an OME-Zarr folder is one. */
async function take(entry: FileSystemEntry, found: Dropped, files: File[]): Promise<void> {
  try {
    if (isFile(entry)) {
      files.push(await new Promise<File>((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const inside = /\.zarr$/i.test(entry.name) ? null : await entriesOf(entry as FileSystemDirectoryEntry);
    if (inside === null || inside.some(({ name }) => ZARR_FILES.has(name))) {
      found.left.push(`${entry.name}: a browser cannot send an OME-Zarr folder: end the server, and add it by its path with cellbrook project add`);
      return;
    }
    inside.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    for (const inner of inside) if (!inner.name.startsWith(".")) await take(inner, found, found.inside);
  } catch {
    found.left.push(`${entry.name}: cannot be read`);
  }
}

const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;

async function entriesOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const entries: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at most
    if (some.length === 0) return entries;
    entries.push(...some);
  }
}
