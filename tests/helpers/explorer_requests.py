"""What tests ask of the explorer."""

from typing import Any

import numpy as np
from explorer_tools import Client, pixels

MEAN, SAMPLE = {"kind": "mean"}, {"kind": "sample", "seed": 7}
REGION = {"top": 20, "left": 30, "height": 4, "width": 5}
MOVED = {"kind": "moved", "base": SAMPLE, "region": REGION, "amounts": [3, -2]}
PART = {"top": 8, "left": 20, "height": 18, "width": 25}
TEXTURE = {
    "id": "t", "kind": "texture", "factor": 2, "area": {"strokes": [{"points": [120.0, 80.0], "radius": 20}]},
}  # fmt: skip


def scribble(x: float, y: float) -> dict[str, Any]:
    strokes = [{"points": [x, y, x + 3, y + 1], "radius": 1.5}]
    return {"id": "s", "kind": "scribble", "area": {"strokes": strokes}, "value": [0.5, 0.5, 0.5], "stddev": 0.05}


def drafted(client: Client, member: dict[str, Any], edits: Any, part: dict[str, int]) -> np.ndarray:
    made = client.run("drafts", {"member": member, "edits": list(edits), "part": part})
    assert [made[key] for key in part] == [4 * v for v in part.values()]
    return pixels(client.http.get(f"{client.base}/blobs/{made['blob']}").content)
