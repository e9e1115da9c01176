// Long lists: only the rows in sight, and a few beside them, are in the page.

import { useEffect, useRef, useState } from "preact/hooks";

const BESIDE = 4; // so that the Tab key and the wheel find the next ones

/** The rows, `first` up to `last`, of a box that scrolls through `length` rows of the same height. */
export function useRows(length: number, height: number) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [count, setCount] = useState(20);
  useEffect(() => {
    const view = box.current!;
    const watch = new ResizeObserver(() => setCount(Math.ceil(view.clientHeight / height) + 2 * BESIDE));
    watch.observe(view);
    return () => watch.disconnect();
  }, []);
  const first = Math.max(0, Math.min(top - BESIDE, length - count)); // the list may have become shorter
  return { box, first, last: first + count, onScroll: () => setTop(Math.floor(box.current!.scrollTop / height)) };
}
