"use strict";

// Without this script the page is whole; with it, tables are sorted by a click on a head, and classes are found by name
function valueOf(row, column) {
  const text = row.cells[column].textContent.trim();
  const time = text.match(/^(\d+):(\d\d):(\d\d)$/);
  if (time) return time[1] * 3600 + time[2] * 60 + Number(time[3]);
  const number = Number(text.replace(/[,%\s]/g, ""));
  return text !== "" && !Number.isNaN(number) ? number : text;
}

function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return typeof a === "number" ? -1 : 1;
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].querySelectorAll("th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, head.cellIndex), row]);
      rows.sort(([a], [b]) => sign * compare(a, b));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  }
}

for (const line of document.querySelectorAll(".find")) {
  const [field, count] = [line.querySelector("input"), line.querySelector("output")];
  const rows = [...line.parentElement.querySelector("tbody").rows];
  line.hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    count.textContent = wanted ? `${shown} of ${rows.length}` : "";
  });
}
