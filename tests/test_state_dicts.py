"""Files of tensors: every reader refuses what is no state dict of ordinary numbers, before it costs anything."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from baseline_checkpoints import edsr_pytorch
from safetensors.torch import save_file
from spaces import small_model
from torch import Tensor, nn

from vspsr import VSpSR
from vspsr.baselines import load_baseline
from vspsr.errors import ModelError
from vspsr.nn.pretrained import load_pretrained
from vspsr.state_dicts import check_keys, digest_of, load, read_state, read_tensors

State = dict[str, Tensor]


def authors_state() -> State:
    torch.manual_seed(0)
    theirs = {"basis.features": "kernelbranch", "coefficients.layers": "weightbranch", "refine": "finalbranch"}
    theirs |= {"basis.embed": "kernelbranch.18", "deterministic.convolutions": "upsamplebranch"}
    theirs |= {f"basis.decoder.{i}": f"kernelbranch.{20 + i}" for i in range(4)}
    state = {}
    for key, value in VSpSR("vspm", {"n_atoms": 8}).network.state_dict().items():
        prefix = next(p for p in theirs if key.startswith(p + "."))
        state[theirs[prefix] + key.removeprefix(prefix)] = value
    return state


def compact_state() -> State:
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    return Compact(num_feat=8, num_conv=2, upscale=2).state_dict()


def from_pretrained(path: Path) -> Any:
    small_model().save_pretrained(path.parent / "model")
    path.rename(path.parent / "model" / "model.safetensors")
    return VSpSR.from_pretrained(path.parent / "model")


READERS: dict[str, tuple[Callable[[], State], Callable[[Path], Any]]] = {
    "model": (lambda: small_model().state_dict(), from_pretrained),
    "authors": (authors_state, lambda path: VSpSR.from_authors_checkpoint(path, n_atoms=8)),
    "layout": (lambda: edsr_pytorch(2, 8, 1).state, lambda path: load_baseline("edsr", 2, path)),
    "spandrel": (compact_state, lambda path: load_baseline(str(path), 2)),
    "part of a model": (compact_state, lambda path: load_pretrained(path, 2)),
}
SPOILED: dict[str, Callable[[Tensor], Tensor]] = {
    "complex64": lambda t: t.to(torch.complex64),
    "float8_e4m3fn": lambda t: t.to(torch.float8_e4m3fn),
    "float8_e5m2": lambda t: t.to(torch.float8_e5m2),
    "infinity": lambda t: t / 0,
    "NaN": lambda t: t * torch.nan,
    "integers": lambda t: t.long(),
    "no axes": lambda t: torch.zeros(()),
    "one more axis": lambda t: t[None].clone(),
}


@pytest.mark.parametrize("spoiled", SPOILED)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_unusual_numbers(reader: str, spoiled: str, tmp_path: Path) -> None:
    make, read = READERS[reader]
    state = {k: v.clone() for k, v in make().items()}
    key = next(k for k, v in state.items() if v.is_floating_point() and v.ndim == 4)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    read(path)
    save_file(state | {key: SPOILED[spoiled](state[key])}, path)
    with pytest.raises(ModelError) as error:
        read(path)
    assert "\n" not in str(error.value)


def without_storage(state: State) -> Any:
    return {k: v.to("meta") for k, v in state.items()}


def endless(state: State) -> Any:
    """A file of some bytes whose tensor has 4 TB."""
    return state | {next(iter(state)): torch.zeros(1).expand(10**12)}


def in_itself(_: State) -> Any:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_storage, "is of kind float32, strided, meta"),
        (endless, "larger than the file"),
        (in_itself, "holds no state dict"),
        (lambda s: {k: v.to_sparse() for k, v in s.items()}, "is of kind float32, sparse_coo, cpu"),
        (lambda s: s | {7: torch.zeros(1)}, "holds no state dict"),
        (lambda s: s | {"epoch": 3}, "holds no state dict"),
        (lambda s: list(s.values()), "holds no state dict"),
    ],
)
def test_odd_contents_of_pth_files(change: Callable[[State], Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(change(edsr_pytorch(2, 8, 1).state), path)
    with pytest.raises(ModelError, match=message):
        read_state(path)


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pth").stat().st_size < 10**5
    assert read_state(tmp_path / "plain.pth")["weight"].shape == (10**6,)
    with pytest.raises(ModelError, match="its archive is compressed"):
        read_state(tmp_path / "bomb.pth")


def test_tied_weights_are_not_taken_for_endless_ones(tmp_path: Path) -> None:
    weight = torch.rand(1000)
    torch.save({"a": weight, "b": weight, "c": weight[:500]}, tmp_path / "tied.pth")
    assert torch.equal(read_state(tmp_path / "tied.pth")["b"], weight)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_no_file_is_said_so(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")  # would be waited for
    for name, message in (
        ("folder", "is a folder"),
        ("pipe", "is not a regular file"),
        ("absent", "no such file"),
        ("a" * 300, "no such file"),
        ("a\0b", "no such file"),
    ):
        with pytest.raises(ModelError, match=message):
            read_tensors(tmp_path / f"{name}{suffix}")


def test_keys_shapes_and_kinds_are_compared_also_with_modules_without_memory() -> None:
    state = nn.Conv2d(2, 3, 1).state_dict()
    with torch.device("meta"):
        wanted = nn.Conv2d(2, 3, 1).state_dict()
    check_keys(state, wanted, "a:")
    check_keys(state, dict.fromkeys(wanted), "a:")
    for wrong, message in (
        ({"bias": state["bias"]}, "a: weight is missing"),
        (state | {"more": state["bias"]}, "a: more is not known"),
        (state | {"bias": torch.zeros(4)}, r"a: bias has shape \(4,\), not \(3,\)"),
        (state | {"bias": torch.zeros(3).int()}, "a: bias has torch.int32 numbers, not torch.float32"),
        ({"x": state["bias"]}, r"a: weight is missing \(and 2 more\)"),
    ):
        with pytest.raises(ModelError, match=message):
            check_keys(wrong, wanted, "a:")


def test_a_module_is_left_alone_by_what_does_not_fit() -> None:
    module = nn.Conv2d(2, 3, 1)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    nan = torch.full((3,), torch.nan)
    for wrong in ({"weight": torch.zeros(3, 2, 1, 1)}, {"weight": torch.zeros(3, 2, 1, 1), "bias": nan}):
        with pytest.raises(ModelError, match="file: "):
            load(module, wrong, "file")
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    good = {"weight": torch.ones(3, 2, 1, 1).half(), "bias": torch.ones(3).double()}
    load(module, good, "file")
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.weight, torch.ones(3, 2, 1, 1))


def test_digest_of_weights() -> None:
    state = {"a": torch.rand(2, 3), "b": torch.arange(3), "c": torch.rand(2).bfloat16(), "d": torch.tensor(1)}
    digest = digest_of(state)
    assert digest_of(dict(reversed(state.items()))) == digest
    assert digest_of({**state, "a": state["a"].T.contiguous().T}) == digest
    for other in ({**state, "d": torch.tensor(2)}, {**state, "e": torch.tensor(1)}):
        assert digest_of(other) != digest
