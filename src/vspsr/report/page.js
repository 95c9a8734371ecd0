"use strict";

// Sorting: each image is a table body of its own, so that its row and what opens below it move together.
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = button.closest("table"), index = Number(button.dataset.sort);
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const th of table.querySelectorAll("th[aria-sort]")) th.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (body) => {
      const value = body.rows[0].cells[index].dataset.value;
      return index === 0 ? value : value === "" ? NaN : Number(value);
    };
    const compare = (a, b) => {
      if (index === 0) return a.localeCompare(b, undefined, { numeric: true }) * (falling ? -1 : 1);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // what is not known comes last
      return a === b ? 0 : (a < b ? -1 : 1) * (falling ? -1 : 1);
    };
    const bodies = [...table.tBodies].map((body) => [key(body), body]);
    bodies.sort((a, b) => compare(a[0], b[0]));
    table.append(...bodies.map((pair) => pair[1]));
  });
}

// Rows: their content waits in a template, so that pictures are decoded only when a row is opened.
for (const button of document.querySelectorAll("button.open")) {
  const toggle = () => {
    const detail = document.getElementById(button.getAttribute("aria-controls"));
    const inside = detail.querySelector(".inside");
    if (!inside.firstChild) {
      inside.append(document.getElementById(detail.id + "-content").content.cloneNode(true));
      for (const viewer of inside.querySelectorAll(".viewer")) startViewer(viewer);
    }
    detail.hidden = !detail.hidden;
    button.setAttribute("aria-expanded", String(!detail.hidden));
    if (!detail.hidden) inside.dispatchEvent(new Event("shown"));
  };
  button.closest("tr").addEventListener("click", toggle); // the button lies in the row: its clicks arrive here too
}

function startViewer(viewer) {
  const width = Number(viewer.dataset.width), height = Number(viewer.dataset.height);
  const stage = viewer.querySelector(".stage .picture"), caption = viewer.querySelector(".stage figcaption");
  const pictures = [...viewer.querySelectorAll(".picture")].filter((button) => button !== stage);
  const figures = [...viewer.querySelectorAll(".crops figure")];
  const slider = viewer.querySelector("input"), output = viewer.querySelector("output");
  const region = { x: 0, y: 0, side: Math.min(Number(slider.value), width, height) };
  let current = -1;

  // The picture that is shown large.
  function show(index) {
    if (index === current) return;
    current = index;
    stage.querySelector("img")?.remove();
    const image = pictures[index].querySelector("img").cloneNode();
    image.removeAttribute("data-name");
    stage.prepend(image);
    caption.replaceChildren(...pictures[index].parentElement.querySelector("figcaption").cloneNode(true).childNodes);
    pictures.forEach((button, i) => button.parentElement.classList.toggle("current", i === index));
    figures.forEach((figure, i) => figure.classList.toggle("current", i === index));
  }

  function draw() {
    region.side = Math.max(8, Math.min(Math.round(region.side), width, height));
    region.x = Math.max(0, Math.min(Math.round(region.x), width - region.side));
    region.y = Math.max(0, Math.min(Math.round(region.y), height - region.side));
    slider.value = String(region.side);
    output.textContent = `x ${region.x}–${region.x + region.side}, y ${region.y}–${region.y + region.side}`;
    for (const button of [stage, ...pictures]) {
      const mark = button.querySelector(".region").style;
      mark.left = `${(100 * region.x) / width}%`;
      mark.top = `${(100 * region.y) / height}%`;
      mark.width = `${(100 * region.side) / width}%`;
      mark.height = `${(100 * region.side) / height}%`;
    }
    pictures.forEach((button, i) => {
      const image = button.querySelector("img");
      if (image.complete && image.naturalWidth) paint(figures[i].querySelector("canvas"), image);
    });
  }

  // Nearest neighbour; the LR picture is smaller, its region is the same part of it.
  function paint(canvas, image) {
    const size = Math.round((canvas.clientWidth || 160) * Math.max(1, window.devicePixelRatio || 1));
    if (canvas.width !== size) canvas.width = canvas.height = size;
    const across = image.naturalWidth / width, down = image.naturalHeight / height;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, size, size);
    context.drawImage(image, region.x * across, region.y * down, region.side * across, region.side * down, 0, 0, size, size);
  }

  function choose(x, y, side = region.side) {
    Object.assign(region, { x, y, side });
    draw();
  }

  // Start where the error is largest, or else the spread, or else in the middle.
  function start() {
    const image = viewer.querySelector("img[data-name=error]") || viewer.querySelector("img[data-name=stddev]");
    let best = [(width - region.side) / 2, (height - region.side) / 2];
    if (image && image.naturalWidth) {
      const canvas = document.createElement("canvas"), step = region.side / 4; // a pixel for each step
      const across = (canvas.width = Math.max(4, Math.round(width / step)));
      const down = (canvas.height = Math.max(4, Math.round(height / step)));
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingQuality = "high";
      context.drawImage(image, 0, 0, across, down);
      const pixels = context.getImageData(0, 0, across, down).data;
      let most = -1;
      for (let top = 0; top + 4 <= down; top++)
        for (let left = 0; left + 4 <= across; left++) {
          let sum = 0;
          for (let y = top; y < top + 4; y++)
            for (let x = left; x < left + 4; x++) sum += pixels[4 * (y * across + x)] + 2 * pixels[4 * (y * across + x) + 1];
          if (sum > most) [most, best] = [sum, [(left * width) / across, (top * height) / down]];
        }
    }
    choose(...best);
  }

  for (const button of [stage, ...pictures]) {
    let from = null, dragged = false;
    const place = (event) => {
      const box = button.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
    };
    const large = () => { if (button !== stage) show(pictures.indexOf(button)); };
    button.addEventListener("focus", large);
    button.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0) return; // a finger that moves scrolls the page
      from = place(event);
      dragged = false;
      button.setPointerCapture(event.pointerId);
    });
    button.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [x, y] = place(event), side = Math.max(Math.abs(x - from[0]), Math.abs(y - from[1]));
      if (side * (button.clientWidth / width) < 5 && !dragged) return;
      dragged = true;
      choose(x < from[0] ? from[0] - side : from[0], y < from[1] ? from[1] - side : from[1], side);
    });
    const release = () => { from = null; };
    button.addEventListener("pointerup", release);
    button.addEventListener("pointercancel", release);
    button.addEventListener("click", (event) => {
      large();
      if (dragged || event.detail === 0) { dragged = false; return; } // detail 0: Enter or Space
      const [x, y] = place(event);
      choose(x - region.side / 2, y - region.side / 2);
    });
    button.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 1 : Math.max(1, Math.round(region.side / 4));
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      const grow = { "+": 1.25, "=": 1.25, "-": 0.8 }[event.key];
      if (moves[event.key]) choose(region.x + moves[event.key][0], region.y + moves[event.key][1]);
      else if (grow) resize(region.side * grow);
      else return;
      event.preventDefault();
    });
  }

  function resize(side) {
    const centre = [region.x + region.side / 2, region.y + region.side / 2];
    side = Math.max(8, Math.min(side, width, height));
    choose(centre[0] - side / 2, centre[1] - side / 2, side);
  }
  slider.addEventListener("input", () => resize(Number(slider.value)));
  window.addEventListener("resize", () => { if (viewer.offsetParent) draw(); });
  figures.forEach((figure, i) => figure.addEventListener("click", () => show(i)));
  show(Math.max(0, pictures.findIndex((button) => button.querySelector("[data-name=s00]"))));
  Promise.allSettled(pictures.map((button) => button.querySelector("img").decode())).then(start);
}
