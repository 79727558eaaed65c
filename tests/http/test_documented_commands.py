"""Every curl command of the documents on the two ports runs as it stands, on the fake engine, and is answered."""

from __future__ import annotations

import asyncio
import json
import re

import msgspec
import pytest

from documents import ROOT, examples
from planes import TEXT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "dialects").glob("*.md"))]
LOCAL = re.compile(r"(?:http://)?(?:127\.0\.0\.1|localhost):(8686|8687)\b")
# The id of an operation, as the first answer of its page would tell it.
OPERATION = re.compile(r"/operations/([0-9a-f]{16})\b")
TASKS = {"/embed_sparse": "embed_sparse"}
TO_ANOTHER_HOST = "example.com"


def commands(page) -> list[str]:
    """Return the commands of a page, in order, without their comments."""
    name, found = str(page.relative_to(ROOT)), []
    for block in (*examples(name, "sh"), *examples(name, "bash")):
        whole = re.sub(r"\\\n\s*", " ", block)
        found += re.findall(r"^(curl (?:[^'\n#]|'[^']*')*)", whole, re.MULTILINE)
    return [command for command in found if LOCAL.search(command)]


DOCUMENTED = {str(page.relative_to(ROOT)): commands(page) for page in PAGES if commands(page)}


async def run(planes, command: str) -> dict[str, object] | str:
    """Run a command on the planes' own ports; return what is answered."""
    ports = {"8686": planes.inference.base_url, "8687": planes.model.base_url}
    here = LOCAL.sub(lambda found: str(ports[found[1]]).rstrip("/"), command)
    process = await asyncio.create_subprocess_shell(
        f"{here} --fail-with-body", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    # What the page stops has ended here.
    assert process.returncode == 0 or (command.endswith("/cancel") and b"has ended already" in output), output
    try:
        return json.loads(output)
    except ValueError:
        return output.decode()


async def load(planes, command: str) -> None:
    """Load the model that a command asks."""
    name = re.search(r"8686/v2/models/(\S+)/infer", command) or re.search(r'"name": "([^"]+)"', command)
    task = next((task for route, task in TASKS.items() if route in command), None)
    body = {"name": name[1], "library": "sentence_transformers", **({"task": task} if task else {})}
    answer = await planes.model.post("/load_model", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("page", DOCUMENTED)
async def test_the_commands_of_a_page_are_answered(planes, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    planes.export.text = msgspec.structs.replace(TEXT, prompts={"query": "red ", "passage": "green "})
    operation = ""
    for command in DOCUMENTED[page]:
        if TO_ANOTHER_HOST in command:
            continue
        if "8686" in command:
            await load(planes, command)
        answer = await run(planes, OPERATION.sub(f"/operations/{operation}", command))
        if isinstance(answer, dict) and "id" in answer:
            operation = answer["id"]


def test_there_are_commands():
    assert sum(map(len, DOCUMENTED.values())) >= 18
    assert "docs/quick-start.md" in DOCUMENTED
