"use strict";
// Tables sort by the column whose heading is pressed. Without JavaScript they stay in the order they were written in.
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falls = head.ariaSort === "ascending" || (head.ariaSort !== "descending" && head.classList.contains("n"));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = falls ? "descending" : "ascending";
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // what is not known stays at the end
        const order = head.classList.contains("n") ? x - y : x.localeCompare(y, undefined, { numeric: true });
        return falls ? -order : order;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}
// What is folded on a screen is printed too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
