for (const head of document.querySelectorAll("table.sortable th button")) {
  head.addEventListener("click", () => {
    const cell = head.parentElement, body = cell.closest("table").tBodies[0];
    const down = cell.getAttribute("aria-sort") === "descending";
    const value = row => row.cells[cell.cellIndex].dataset.v ?? row.cells[cell.cellIndex].textContent;
    const compare = (a, b) => {
      const x = value(a), y = value(b), p = parseFloat(x), q = parseFloat(y);
      return isNaN(p) || isNaN(q) ? x.localeCompare(y) : p - q;
    };
    const rows = [...body.rows].sort(compare);
    if (!down) rows.reverse();
    for (const other of cell.parentElement.cells) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "ascending" : "descending");
    body.append(...rows);
  });
}
