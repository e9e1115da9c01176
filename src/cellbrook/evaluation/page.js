// The page is whole without this: it adds sorting and the size of the crops.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const order = (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
      const byNumber = (a, b) => Number(value(a)) - Number(value(b));
      const rows = [...table.tBodies[0].rows];
      const numeric = rows.every((row) => value(row) !== "" && !Number.isNaN(Number(value(row))));
      rows.sort(numeric ? byNumber : order);
      table.tBodies[0].append(...(descending ? rows.reverse() : rows));
    });
  });
}
const size = document.getElementById("crop-size");
if (size) {
  size.closest("label").hidden = false;
  size.addEventListener("input", () => document.body.style.setProperty("--crop", `${size.value}rem`));
}
