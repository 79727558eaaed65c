"""Draw the diagrams of docs/pictures: boxes and arrows as SVG that follows the reader's dark or light scheme."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
_STYLE = """
text{font:14px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1b1f24}
.small{font-size:12px;fill:#57606a}.title{font-weight:600}
rect{fill:#f6f8fa;stroke:#8c959f}.mark{fill:#ddf4ff;stroke:#0969da}.zone{fill:none;stroke-dasharray:6 4}
line,path{stroke:#57606a;stroke-width:1.5;fill:none}marker path{fill:#57606a;stroke:none}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.small{fill:#9da7b1}rect{fill:#161b22;stroke:#6e7681}.mark{fill:#0c2d4d;stroke:#4493f8}
.zone{fill:none}line,path{stroke:#9da7b1}marker path{fill:#9da7b1}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box with a title and smaller lines below it; a zone is a dashed frame around other boxes.

    Attributes:
        x, y: Left upper corner, in pixels.
        width, height: Size, in pixels.
        title: First line.
        lines: Further lines.
        kind: ``mark`` for a box of Ingrain's own, ``zone`` for a frame, "" for any other.
    """

    x: int
    y: int
    title: str
    lines: tuple[str, ...] = ()
    width: int = 150
    height: int = 74
    kind: str = ""

    def svg(self) -> str:
        """Return the box."""
        parts = [
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="8" class="{self.kind}"/>'
        ]
        for place, text in enumerate((self.title, *self.lines)):
            kind = "small" if place else "title"
            y = self.y + 24 + 18 * place
            parts.append(f'<text x="{self.x + 12}" y="{y}" class="{kind}">{html.escape(text)}</text>')
        return "".join(parts)


def arrow(x: int, y: int, to_x: int, to_y: int, text: str = "") -> str:
    """Return an arrow, with a text above its middle."""
    line = f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" marker-end="url(#head)"/>'
    if not text:
        return line
    return f'{line}<text x="{(x + to_x) // 2 + 6}" y="{(y + to_y) // 2 - 6}" class="small">{html.escape(text)}</text>'


def svg(width: int, height: int, title: str, *parts: Box | str) -> str:
    """Return a picture; ``title`` says in a sentence what it shows, for readers who do not see it."""
    body = "\n".join(part.svg() if isinstance(part, Box) else part for part in parts)
    head = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
        f'<defs>{head}<path d="M0 0 8 4 0 8z"/></marker></defs>\n{body}\n</svg>\n'
    )


def chain(y: int, *stations: tuple[str, ...], kinds: str = "") -> list[Box | str]:
    """Return boxes from left to right with arrows between them; each station is a title and its lines."""
    boxes = [
        Box(x=20 + 180 * place, y=y, title=title, lines=tuple(lines), kind="mark" if str(place) in kinds else "")
        for place, (title, *lines) in enumerate(stations)
    ]
    arrows = [arrow(box.x + box.width, y + 37, box.x + box.width + 28, y + 37) for box in boxes[:-1]]
    return [*boxes, *arrows]


def request_path() -> str:
    """Draw the path of a request."""
    return svg(
        920,
        250,
        "A request is parsed by its dialect, checked and prepared by a task, batched, run by the engine and answered.",
        *chain(
            20,
            ("HTTP", "ports 8686, 8687", "keys, limits"),
            ("Dialect", "Ingrain, OpenAI,", "TEI, Cohere, …"),
            ("Task", "check, tokenize,", "decode pictures"),
            ("Batch", "similar lengths,", "token budget"),
            ("Engine", "Triton or ONNX", "Runtime"),
            kinds="0123",
        ),
        arrow(815, 94, 815, 148),
        Box(x=740, y=150, title="Vectors", lines=("one row an item",)),
        arrow(740, 187, 532, 187),
        Box(x=380, y=150, title="Task", lines=("cut, normalize,", "number type"), kind="mark"),
        arrow(380, 187, 172, 187),
        Box(x=20, y=150, title="Answer", lines=("in the words of", "the dialect"), kind="mark"),
    )


def model_path() -> str:
    """Draw the path of a model."""
    return svg(
        920,
        250,
        "A model is fetched, converted by its library's family, proved against the library, stored, and loaded.",
        *chain(
            20,
            ("Name", "a hub id, a folder,", "an OpenCLIP tag"),
            ("Source", "hub, local, URL", "resumed, checked"),
            ("Export", "library's pipeline", "as one ONNX graph"),
            ("Proof", "many lengths and", "sizes, ≤ 1e-4"),
            ("Repository", "graphs, tokenizer,", "manifest, digests"),
            kinds="1234",
        ),
        Box(x=370, y=8, width=348, height=98, title="", kind="zone"),
        arrow(635, 94, 635, 148),
        '<text x="648" y="138" class="small">if it differs</text>',
        Box(x=560, y=150, title="Refused", lines=("nothing is stored;", "says by how much")),
        arrow(815, 94, 815, 148),
        Box(x=740, y=150, title="Engine", lines=("loaded, and again", "after restarts")),
        '<text x="382" y="126" class="small">a process of its own, with PyTorch</text>',
    )


def topologies() -> str:
    """Draw where the server and Triton may run."""
    return svg(
        920,
        420,
        "One process tree on one machine; a front end with a Triton of its own; several front ends and Tritons.",
        Box(x=20, y=20, width=270, height=380, title="One machine", kind="zone"),
        Box(x=45, y=60, width=220, title="Ingrain", lines=("both planes, console",), kind="mark"),
        arrow(155, 134, 155, 176),
        Box(x=45, y=178, width=220, title="Embedded Triton", lines=("or ONNX Runtime in the", "process")),
        arrow(155, 252, 155, 294),
        Box(x=45, y=296, width=220, title="Repository", lines=("a folder",)),
        Box(x=325, y=20, width=270, height=380, title="Compose, or one pod", kind="zone"),
        Box(x=350, y=60, width=220, title="Ingrain", lines=("workers on one port",), kind="mark"),
        arrow(460, 134, 460, 176, "gRPC"),
        Box(x=350, y=178, width=220, title="Triton's container", lines=("TRITON_GRPC_URL", "a GPU, if there is one")),
        arrow(460, 252, 460, 294),
        Box(x=350, y=296, width=220, title="Repository", lines=("a shared volume",)),
        Box(x=630, y=20, width=270, height=380, title="A cluster", kind="zone"),
        Box(x=655, y=60, width=105, title="Ingrain", lines=("replica 1",), kind="mark"),
        Box(x=770, y=60, width=105, title="Ingrain", lines=("replica 2",), kind="mark"),
        arrow(707, 134, 707, 176),
        arrow(822, 134, 822, 176),
        arrow(707, 134, 800, 176),
        arrow(822, 134, 730, 176),
        Box(x=655, y=178, width=105, title="Triton", lines=("has each", "model")),
        Box(x=770, y=178, width=105, title="Triton", lines=("has each", "model")),
        arrow(707, 252, 740, 294),
        arrow(822, 252, 790, 294),
        Box(x=655, y=296, width=220, title="Repository", lines=("a volume, or s3://",)),
    )


def pictures() -> dict[str, str]:
    """Return every diagram by the name of its file."""
    return {"request-path.svg": request_path(), "model-path.svg": model_path(), "topologies.svg": topologies()}


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (PICTURES / name).write_text(text, encoding="utf-8")
        print(f"wrote {PICTURES / name}")
