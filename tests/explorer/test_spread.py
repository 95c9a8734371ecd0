"""The map of σ: of the space that is shown, texture included; drafts of it; progress of what takes a while."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from explorer_requests import MEAN, SAMPLE, drafted, scribble
from explorer_tools import Client, http_client, photo

from vspsr.explorer.editing import unlikeliness
from vspsr.explorer.messages import Ask, Components, DraftRequest, Scribble
from vspsr.explorer.work import ask, components, draft
from vspsr.images.sheets import coloured

STDDEV = {"kind": "stddev"}
PART = {"top": 1, "left": 2, "height": 8, "width": 9}
TEXTURE = {
    "id": "t", "kind": "texture", "factor": 2, "area": {"strokes": [{"points": [16.0, 24.0], "radius": 30}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with http_client() as http:
        yield Client(http, photo())


def stddev_kept(client: Client, edits: Any) -> np.ndarray:
    """(3, H, W) as it is exported."""
    _, content = client.keep(what="stddev", edits=edits)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        array: np.ndarray = np.load(io.BytesIO(file.read("stddev.npy")), allow_pickle=False)
    return array


@pytest.mark.parametrize("others", [[], [scribble(21, 20)]])
def test_the_standard_deviation_is_that_of_the_texture_shown(client: Client, others: list[dict[str, Any]]) -> None:
    """Against samples that are shown with the same edits."""
    at = np.s_[:, 12:36, 4:16]  # inside the area
    plain, textured = (stddev_kept(client, edits) for edits in (others, [*others, TEXTURE]))
    assert client.layer(STDDEV, [*others, TEXTURE])[0]["edited"]
    assert textured[at].mean() / plain[at].mean() == pytest.approx(2, rel=0.1)
    assert textured[:, :, 56:].mean() / plain[:, :, 56:].mean() == pytest.approx(1, rel=0.1)
    mean = client.layer(MEAN, others)[1]
    samples = [{"kind": "sample", "seed": seed} for seed in range(4)]
    sizes = [
        np.mean([np.abs(client.layer(sample, edits)[1] - mean)[at[1:]] for sample in samples])
        for edits in (others, [*others, TEXTURE])
    ]
    assert textured[at].mean() / plain[at].mean() == pytest.approx(sizes[1] / sizes[0], rel=0.15)


@pytest.mark.parametrize("edits", [[], [scribble(21, 20)], [TEXTURE, scribble(21, 20)]])
def test_a_draft_of_the_map_is_its_part(client: Client, edits: list[dict[str, Any]]) -> None:
    """The values behind its colours are those of the whole there, up to what 100 samples state."""
    made = client.run("drafts", {"member": STDDEV, "edits": edits, "part": PART})
    assert made["edited"] == bool(edits)
    shown = drafted(client, STDDEV, edits, PART)
    stddev = stddev_kept(client, edits)[:, 4:36, 8:44]
    levels = 255 * np.sqrt(np.square(stddev).mean(0))
    assert 0.99 * np.quantile(levels, 0.995) <= made["end"]
    assert np.abs(shown - coloured(levels / made["end"])).mean() < 1
    about, _ = client.layer(MEAN, edits)
    path = f"{client.base}/layers/{about['layer']}/pixel?spread={made['blob']}"
    found = client.http.get(f"{path}&x=20&y=9").json()  # in the part
    assert found["stddev"] == pytest.approx((255 * stddev[:, 9 - 4, 20 - 8]).tolist(), rel=1e-3)
    assert found["interval"] is not None
    for x, y in ((7, 9), (20, 3), (44, 9), (20, 36)):
        assert client.http.get(f"{path}&x={x}&y={y}").json()["stddev"] is None
    if TEXTURE in edits:
        assert np.abs(shown - drafted(client, STDDEV, edits[1:], PART)).mean() > 5


@pytest.mark.parametrize("what", ["unlikeliness", "ask", "drafts", "components", "components with edits"])
def test_progress(client: Client, what: str) -> None:
    """Of how unlikely an edit is, of which candidate is supported, of a draft of σ, of the components of a region: it
    grows to nearly all."""
    session = client.http.app.state.sessions.get(client.info["session"])  # type: ignore[attr-defined]
    blot = scribble(21, 20) | {"area": {"strokes": [{"points": [24.0, 24.0], "radius": 6}]}}
    seen: list[tuple[int, int]] = []

    def follow(done: int, total: int) -> None:
        seen.append((done, total))

    if what == "unlikeliness":
        unlikeliness(session, [Scribble.model_validate(blot)], follow)
    elif what == "ask":
        ask(session, Ask.model_validate({"region": PART, "a": {"kind": "mean"}, "b": SAMPLE}), follow)
    elif what.startswith("components"):
        edits = [blot] if "edits" in what else []
        components(session, Components.model_validate({"member": SAMPLE, "region": PART, "edits": edits}), follow)
    else:
        other = PART | {"left": 3}  # not known yet
        draft(session, DraftRequest.model_validate({"member": STDDEV, "part": other}), follow)
    shares = [done / total for done, total in seen]
    assert len(set(shares)) > 3
    assert shares == sorted(shares)
    assert 0.5 < shares[-1] < 1
