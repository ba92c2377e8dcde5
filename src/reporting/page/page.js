"use strict";
// Two things only: classes can be searched for, and the confusion matrix can be zoomed. All else works without.

const filter = document.getElementById("filter");
const found = document.getElementById("found");
const named = [...document.querySelectorAll("[data-class]")];
if (!named.length) filter.parentElement.hidden = true;

filter.addEventListener("input", () => {
  const words = filter.value.trim().toLowerCase();
  for (const one of named) one.hidden = !one.dataset.class.includes(words);
  const left = named.filter((one) => !one.hidden).length;
  found.textContent = words ? `${left} of ${named.length} entries` : "";
});

for (const matrix of document.querySelectorAll(".matrix")) {
  const size = Number(matrix.dataset.size);
  const labelled = Number(matrix.dataset.labelled); // classes up to which each has its name at the edge
  const numbered = 13; // and up to which each cell shows its number
  const names = JSON.parse(matrix.querySelector(".names").textContent);
  const field = matrix.querySelector("svg");
  const told = matrix.querySelector(".told");
  const counts = new Map();
  for (const cell of field.querySelectorAll("rect")) counts.set(`${cell.getAttribute("y")},${cell.getAttribute("x")}`, cell.dataset.n);
  let left = 0, top = 0, span = size;

  const show = () => {
    left = Math.min(Math.max(left, 0), size - span);
    top = Math.min(Math.max(top, 0), size - span);
    matrix.querySelector(".field").classList.toggle("bare", span > labelled);
    field.setAttribute("viewBox", `${left} ${top} ${span} ${span}`);
    label(matrix.querySelector(".across"), "left", left);
    label(matrix.querySelector(".down"), "top", top);
    number();
  };
  const number = () => {
    field.querySelectorAll("text").forEach((one) => one.remove());
    if (span > numbered) return;
    for (const [key, n] of counts) {
      const [row, column] = key.split(",").map(Number);
      if (row < top || row >= top + span || column < left || column >= left + span) continue;
      const one = document.createElementNS(field.namespaceURI, "text");
      one.setAttribute("x", column + 0.5);
      one.setAttribute("y", row + 0.5);
      one.textContent = n;
      field.append(one);
    }
  };
  const label = (place, side, first) => {
    place.replaceChildren();
    if (span > labelled) return;
    for (let k = first; k < first + span; k++) {
      const name = document.createElement("span");
      name.textContent = names[k]; // text, whatever it holds
      name.title = names[k];
      name.dir = "auto";
      name.style[side] = `${(100 * (k - first + 0.5)) / span}%`;
      place.append(name);
    }
  };
  const zoom = (factor, row = top + span / 2, column = left + span / 2) => {
    const before = span;
    span = Math.min(size, Math.max(Math.min(5, size), Math.round(span * factor)));
    if (span === before && factor !== 1) return;
    left = Math.round(column - span / 2);
    top = Math.round(row - span / 2);
    show();
  };
  const cellAt = (event) => {
    const box = field.getBoundingClientRect();
    const column = Math.floor(left + (span * (event.clientX - box.left)) / box.width);
    const row = Math.floor(top + (span * (event.clientY - box.top)) / box.height);
    return [Math.min(Math.max(row, 0), size - 1), Math.min(Math.max(column, 0), size - 1)];
  };
  const tell = (row, column) => {
    told.textContent = `truth ${names[row]}, answer ${names[column]}: ${counts.get(`${row},${column}`) || 0} images`;
  };

  field.addEventListener("pointermove", (event) => tell(...cellAt(event)));
  field.addEventListener("click", (event) => {
    const [row, column] = cellAt(event);
    tell(row, column);
    zoom(0.5, row + 0.5, column + 0.5);
  });
  const factors = { in: 0.5, out: 2, all: size };
  for (const button of matrix.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(factors[button.dataset.zoom]));
  }
  const step = () => Math.max(1, Math.round(span / 4));
  const keys = {
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => zoom(size),
    ArrowLeft: () => (left -= step()), ArrowRight: () => (left += step()),
    ArrowUp: () => (top -= step()), ArrowDown: () => (top += step()),
  };
  field.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
    show();
  });
  show();
}
