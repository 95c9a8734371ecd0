// Elements of the page.

export const $ = (selector, within = document) => within.querySelector(selector);

/** An element with properties (on… are listeners, others attributes) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A section of the panel that opens and closes. */
export function section(title, open, ...children) {
  return h("details", { class: "section", open }, h("summary", {}, title), ...children);
}

let hiding = 0;

/** A message to the user, an error by default. */
export function say(text, kind = "error") {
  const box = $("#message");
  box.textContent = text;
  box.className = `shown ${kind}`;
  clearTimeout(hiding);
  hiding = setTimeout(() => box.classList.remove("shown"), 8000);
}

/** A function that runs ``work`` and shows its error. */
export const guarded = (work) => async (...parts) => {
  try {
    return await work(...parts);
  } catch (error) {
    if (error.name !== "Cancelled") say(error.message);
    return undefined;
  }
};

/** Whether a finger is what points here. */
export const byTouch = () => matchMedia("(pointer: coarse)").matches;

export const debounce = (work, delay) => {
  let timer = 0;
  return (...parts) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...parts), delay);
  };
};

export const toHex = (rgb) => "#" + rgb.map((v) => Math.round(255 * v).toString(16).padStart(2, "0")).join("");

export const fromHex = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16) / 255);
