"use strict";
// Two things only: classes can be searched for, and the confusion matrix can be zoomed. All else works without.

const filter = document.getElementById("filter");
const found = document.getElementById("found");
const named = [...document.querySelectorAll("[data-class]")];
const classes = [...new Set(named.flatMap((one) => one.dataset.class.split("\n")))];
if (!named.length) filter.parentElement.hidden = true;

filter.addEventListener("input", () => {
  const words = filter.value.trim().toLowerCase();
  for (const one of named) one.hidden = !one.dataset.class.includes(words);
  for (const figure of new Set(named.map((one) => one.closest("figure")))) {
    figure.hidden = !figure.querySelector("[data-class]:not([hidden])");
  }
  const left = classes.filter((name) => name.includes(words)).length;
  found.textContent = words ? `${left} of ${classes.length} classes` : "";
});

for (const matrix of document.querySelectorAll(".matrix")) {
  const size = Number(matrix.dataset.size);
  const readable = 12, roomy = 34; // pixels of a cell from which its class is named, and its number is written
  const names = JSON.parse(matrix.querySelector(".names").textContent);
  const frame = matrix.querySelector(".field");
  const field = matrix.querySelector("svg");
  const here = field.querySelector(".here");
  const told = matrix.querySelector(".told");
  const counts = new Map();
  for (const cell of field.querySelectorAll("[data-n]")) counts.set(`${cell.getAttribute("y")},${cell.getAttribute("x")}`, cell.dataset.n);
  let left = 0, top = 0, span = size, at = null;

  const show = () => {
    left = Math.min(Math.max(left, 0), size - span);
    top = Math.min(Math.max(top, 0), size - span);
    field.setAttribute("viewBox", `${left} ${top} ${span} ${span}`);
    frame.classList.remove("bare"); // names take room of their own
    const pixels = field.getBoundingClientRect().width / span;
    frame.classList.toggle("bare", pixels < readable);
    label(matrix.querySelector(".across"), "left", left, pixels);
    label(matrix.querySelector(".down"), "top", top, pixels);
    number(pixels);
  };
  const number = (pixels) => {
    field.querySelectorAll("text").forEach((one) => one.remove());
    if (pixels < roomy) return;
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
  const label = (place, side, first, pixels) => {
    place.replaceChildren();
    if (pixels < readable) return;
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
  const apart = (name) => `\u2068${name}\u2069`; // letters from right to left do not turn the words around them
  const tell = (row, column) => {
    const n = counts.get(`${row},${column}`) || 0;
    told.textContent = `truth ${apart(names[row])}, answer ${apart(names[column])}: ${n} image${n == 1 ? "" : "s"}`;
  };
  // The cell that the keys are at: the first press finds it in the middle of what is shown.
  const go = (down, right) => {
    const [row, column] = at ? [at[0] + down, at[1] + right] : [top + Math.floor(span / 2), left + Math.floor(span / 2)];
    at = [Math.min(Math.max(row, 0), size - 1), Math.min(Math.max(column, 0), size - 1)];
    top = Math.max(Math.min(top, at[0]), at[0] - span + 1);
    left = Math.max(Math.min(left, at[1]), at[1] - span + 1);
    here.setAttribute("y", at[0]);
    here.setAttribute("x", at[1]);
    here.removeAttribute("hidden");
    tell(...at);
    show();
  };
  const closer = (factor) => (at ? zoom(factor, at[0] + 0.5, at[1] + 0.5) : zoom(factor));

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
  const keys = {
    "+": () => closer(0.5), "=": () => closer(0.5), "-": () => closer(2), "0": () => zoom(size),
    ArrowLeft: () => go(0, -1), ArrowRight: () => go(0, 1), ArrowUp: () => go(-1, 0), ArrowDown: () => go(1, 0),
  };
  field.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  addEventListener("resize", show);
  show();
}
