"""Model files: they come back as they went, and every other file is refused for its own reason."""

import json
import pickle

import pytest
import torch
from torch import nn

from debye.core import checkpoint
from debye.core.radial import RadialMLP
from debye.errors import InputError


@pytest.fixture
def saved(tmp_path):
    model = RadialMLP(cutoff=5.0, outputs=3)
    path = tmp_path / "model.safetensors"
    checkpoint.save_model(path, model, {"licence": "CC-BY-4.0", "note": "cm⁻¹"})
    return path, model


def changed_header(path, change):
    """Rewrite a file with another card, tensors as they were."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def with_card(**facts):
    def change(header):
        card = json.loads(header["__metadata__"]["debye"]) | facts
        header["__metadata__"]["debye"] = json.dumps(card)

    return change


def test_round_trip(saved):
    path, model = saved
    again, card = checkpoint.load_model(path, RadialMLP)
    r = torch.linspace(0.5, 5, 9)
    assert torch.equal(again(r), model(r))
    assert not again.training
    assert card["arguments"] == {"cutoff": 5.0, "outputs": 3, "basis": 10, "hidden": 64}
    assert card["note"] == "cm⁻¹"
    assert card["format"] == checkpoint.FORMAT == 2
    assert checkpoint.read_card(path) == card


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool]
)
def test_tensors_of_any_kind_and_shape(tmp_path, dtype):
    tensors = {"scalar": torch.ones((), dtype=dtype), "none": torch.ones(0, 3, dtype=dtype),
               "turned": torch.arange(6).reshape(2, 3).T.to(dtype)}  # fmt: skip
    checkpoint.save(tmp_path / "t", {}, tensors)
    for name, tensor in checkpoint.load(tmp_path / "t")[1].items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, tensors[name])


def test_nan_in_a_card_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.save(tmp_path / "t", {"loss": float("nan")}, {})
    assert not list(tmp_path.iterdir())


def refusal_of(path):
    with pytest.raises(InputError) as caught:
        checkpoint.load_model(path, RadialMLP)
    assert str(path) in caught.value.what
    return caught.value


@pytest.mark.parametrize(("keep", "why"), [
    (0, "ends after 0 bytes"), (5, "ends after 5 bytes"), (100, "within its header"),
    (-1, "cut short"), (-400, "cut short"),
])  # fmt: skip
def test_truncated(saved, keep, why):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:keep])
    assert why in refusal_of(path).why


def test_one_flipped_bit(saved):
    path, _ = saved
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    assert "does not match its checksum" in refusal_of(path).why


def test_edited_card(saved):
    path, _ = saved
    changed_header(path, with_card(licence="none"))
    assert "does not match its checksum" in refusal_of(path).why
    with pytest.raises(InputError, match="checksum"):
        checkpoint.read_card(path)


def test_newer_format(saved):
    path, _ = saved
    changed_header(path, with_card(format=3))
    assert "format 3" in refusal_of(path).why
    assert refusal_of(path).fix == "install a newer debye"


def test_format_1_stays_readable(saved):
    """A file as the first release wrote it: this card, this digest, these tensors."""
    path, _ = saved
    card = {
        "class": "RadialMLP",
        "arguments": {"reach": 5.0, "outputs": 1, "basis": 1, "hidden": 1},
    }
    tensors = {"inner.weight": torch.ones(1, 1), "inner.bias": torch.zeros(1),
               "outer.weight": torch.ones(1, 1)}  # fmt: skip
    checkpoint.save(path, card, tensors)
    assert checkpoint.read_card(path)["sha256"].startswith(FIRST_DIGEST)


FIRST_DIGEST = "91cdd90ef130c2cf"


@pytest.mark.parametrize("content", [
    b"PK\x03\x04\x00\x00\x08\x08" + bytes(100),
    *(pickle.dumps({"a": 1}, protocol) + bytes(8) for protocol in (2, 3, 4, 5)),
])  # fmt: skip
def test_pickles_are_not_opened(saved, content):
    path, _ = saved
    path.write_bytes(content)
    assert "it is a pickle" in refusal_of(path).why


def test_a_header_of_640_bytes_is_no_pickle(tmp_path):
    """640 in little-endian begins as a pickle does."""

    def header_of(fill):
        checkpoint.save(tmp_path / "t", {"fill": "x" * fill}, {"a": torch.ones(1)})
        return int.from_bytes((tmp_path / "t").read_bytes()[:8], "little")

    fill = 640 - header_of(0)
    assert header_of(fill) == 640
    assert (tmp_path / "t").read_bytes()[:2] == b"\x80\x02"
    assert checkpoint.read_card(tmp_path / "t")["fill"] == "x" * fill


@pytest.mark.parametrize(("content", "why"), [
    (b"data_quartz\n_cell_length_a 4.9\n", "no safetensors file"),
    ((30).to_bytes(8, "little") + b'{"__metadata__": {}}          ', "not one that debye writes"),
    ((4).to_bytes(8, "little") + b"[[[[", "not one that debye writes"),
])  # fmt: skip
def test_files_of_others(saved, content, why):
    path, _ = saved
    path.write_bytes(content)
    assert why in refusal_of(path).why


def test_missing_file_and_folder(tmp_path):
    assert "No such file" in refusal_of(tmp_path / "none").why
    assert "directory" in refusal_of(tmp_path).why


def test_another_class(saved):
    path, _ = saved
    with pytest.raises(InputError, match="as a Linear") as caught:
        checkpoint.load_model(path, nn.Linear)
    assert "RadialMLP" in caught.value.why


def test_arguments_and_tensors_that_do_not_fit(tmp_path):
    path, model = tmp_path / "m", RadialMLP(cutoff=5.0, outputs=3)
    card = {"class": "RadialMLP", "arguments": {"cutoff": 5.0, "outputs": 2}}
    checkpoint.save(path, card, model.state_dict())
    assert "do not fit together" in refusal_of(path).why
    checkpoint.save(
        path, {**card, "arguments": {"cutoff": 5.0, "outputs": 3, "depth": 1}}, model.state_dict()
    )
    assert "do not fit together" in refusal_of(path).why
    wide = {k: v.double() for k, v in model.state_dict().items()}
    checkpoint.save(path, {**card, "arguments": {"cutoff": 5.0, "outputs": 3}}, wide)
    assert "float64" in refusal_of(path).why
