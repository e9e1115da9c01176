// What was dropped onto the page: files, and the files in folders.

import { FOLDER } from "../core/wire";

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
      files.push(await fileOf(entry));
      return;
    }
    const inside = await entriesOf(entry as FileSystemDirectoryEntry);
    if (inside.some(({ name }) => ZARR_FILES.has(name))) {
      files.push(packed(entry.name, await filesIn(inside, "")));
      return;
    }
    if (/\.zarr$/i.test(entry.name)) {
      found.left.push(`${entry.name}: is no OME-Zarr image: it has neither zarr.json nor .zattrs`);
      return;
    }
    inside.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    for (const inner of inside) if (!inner.name.startsWith(".")) await take(inner, found, found.inside);
  } catch {
    found.left.push(`${entry.name}: cannot be read`);
  }
}

/** A folder as one file, as the server takes it: a line of JSON with its files' paths and sizes, then what is in them. None of it is read here. */
function packed(name: string, files: readonly [path: string, file: File][]): File {
  const paths = JSON.stringify(files.map(([path, { size }]) => [path, size]));
  return new File([`${paths}\n`, ...files.map(([, file]) => file)], name, { type: FOLDER });
}

/** All files, hidden ones too, as an OME-Zarr folder keeps what it is in some. */
async function filesIn(entries: readonly FileSystemEntry[], above: string): Promise<[path: string, file: File][]> {
  const files: [string, File][] = [];
  for (const entry of entries) {
    const path = above + entry.name;
    if (isFile(entry)) files.push([path, await fileOf(entry)]);
    else for (const inner of await filesIn(await entriesOf(entry as FileSystemDirectoryEntry), `${path}/`)) files.push(inner);
  }
  return files;
}

const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;

const fileOf = (entry: FileSystemFileEntry): Promise<File> => new Promise((resolve, reject) => entry.file(resolve, reject));

async function entriesOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const entries: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at most
    if (some.length === 0) return entries;
    entries.push(...some);
  }
}
