// A field for pictures, by choice, by drag and drop, or by URL lines.

import { el } from "/ui/dom.js";

const asUrl = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });

export function pictureInput() {
  const shown = el("div", { class: "pictures" });
  const input = el("input", { type: "file", multiple: true, accept: "image/*", "aria-label": "Pictures" });
  const clear = el("button", { type: "button", class: "quiet" }, "Remove all");
  const node = el("div", { class: "drop field wide" }, "Drop pictures here, or choose some: ", input, shown, clear);
  let urls = [];

  const draw = () => {
    shown.replaceChildren(...urls.map((src, place) => el("img", { src, alt: `picture ${place + 1}` })));
    clear.hidden = !urls.length;
  };
  const add = async (files) => {
    urls = urls.concat(await Promise.all([...files].filter((file) => file.type.startsWith("image/")).map(asUrl)));
    draw();
  };
  input.addEventListener("change", () => add(input.files));
  clear.addEventListener("click", () => {
    urls = [];
    input.value = "";
    draw();
  });
  node.addEventListener("dragover", (event) => {
    event.preventDefault();
    node.classList.add("over");
  });
  node.addEventListener("dragleave", () => node.classList.remove("over"));
  node.addEventListener("drop", (event) => {
    event.preventDefault();
    node.classList.remove("over");
    add(event.dataTransfer.files);
  });
  draw();
  return { node, urls: () => urls };
}
