// Builds and changes the page. All text is set as text, never as markup.

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name in node && !name.startsWith("aria") && name !== "list" && name !== "style") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

let fields = 0;

export function field(label, input, wide = false) {
  input.id ||= `field-${++fields}`;
  return el("div", { class: wide ? "field wide" : "field" }, el("label", { htmlFor: input.id }, label), input);
}

export function select(options, props = {}) {
  const entries = options.map((one) => (Array.isArray(one) ? one : [one, one]));
  return el("select", props, entries.map(([value, text]) => el("option", { value }, text)));
}

export function notice(text) {
  const box = document.getElementById("notice");
  box.textContent = text || "";
  box.hidden = !text;
}

// Runs what a button starts: the button rests meanwhile, and an error is shown.
export function busy(button, work) {
  return async (event) => {
    event?.preventDefault();
    button.disabled = true;
    notice("");
    try {
      await work(event);
    } catch (error) {
      notice(error.message);
    } finally {
      button.disabled = false;
    }
  };
}

export const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

export const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export function bytes(value) {
  return value >= 1e9 ? `${number(value / 1e9, 2)} GB` : `${number(value / 1e6, 1)} MB`;
}

export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
