"""Every example of docs/client.md runs, one after the other, as a reader would type them."""

import asyncio
import os
import sys

from documents import examples
from images import encode, scene
from planes import running_planes


async def test_every_example_of_the_clients_page_runs(tmp_path):
    """All blocks as one program, against planes in this process; it must end well and print what each announces."""
    blocks = examples("docs/client.md", "python")
    assert len(blocks) >= 10
    (tmp_path / "photos").mkdir()
    for number in range(3):
        photo = encode(scene(900, 700, seed=number), "JPEG")
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(photo)
    (tmp_path / "program.py").write_text("\n\n".join(blocks), "utf-8")
    async with running_planes(tmp_path / "root") as planes:
        pipe = asyncio.subprocess.PIPE
        environment = {
            **os.environ,
            "INGRAIN_INFERENCE_URL": str(planes.inference.base_url),
            "INGRAIN_MODEL_URL": str(planes.model.base_url),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "program.py", cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe
        )
        printed, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    lines = printed.decode().splitlines()
    assert lines[1].startswith("True ")
    for line in (
        "(1000, 8) float32",
        "500",
        "(1, 8) (200, 8)",
        "(1000, 1) uint8",
        "[4, 32] [False, True]",
        "2 [0, 2]",
        "(1, 8)",
        "The inference server is running.",
    ):
        assert line in lines
    assert any(line.startswith("Model 'no-such-model' is not loaded.") and " 404 " in line for line in lines)
