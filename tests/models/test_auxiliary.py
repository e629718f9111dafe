"""What belongs to a model is never taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from exsa_lab.errors import InvalidModel
from exsa_lab.models import hub
from exsa_lab.models.auxiliary import is_auxiliary_file, is_auxiliary_name
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.hub import HubName, _choose
from tests.models.gguf_files import write

X = "Q8_0/X-Q8_0-00001-of-00002.gguf"


@pytest.mark.parametrize(
    "name",
    [
        "mmproj-X-f16.gguf", "X.mmproj-Q8_0.gguf", "MTP/mtp-X-Q8_0.gguf", "mtp-X.gguf", "X-imatrix.gguf",
        "imatrix_unsloth.gguf", "X-dflash-Q8_0.gguf", "X-eagle3-Q4_K_M.gguf", "EAGLE/X.gguf", "ggml-vocab-x.gguf",
        "X-lora-f16.gguf", "adapter.gguf",
    ],
)  # fmt: skip
def test_names_that_tell(name: str) -> None:
    assert is_auxiliary_name(name)


@pytest.mark.parametrize("name", ["X-Q8_0.gguf", X, "Florence-Q4.gguf", "mtpx-7b.gguf", "vocabulary-trainer-7b.gguf"])
def test_names_of_models(name: str) -> None:
    assert not is_auxiliary_name(name)


def test_a_split_model_wins_over_what_belongs_to_it() -> None:
    files = ["MTP/mtp-X-Q8_0.gguf", X, X.replace("00001", "00002", 1), "mmproj-Q8_0.gguf", "X-dflash-Q8_0.gguf"]
    assert _choose(HubName("a/b"), files) == X
    assert _choose(HubName("a/b", quant="Q8_0"), files) == X


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general__type": "adapter"}, r"m\.gguf is an adapter \('adapter'\), not a language model"),
        ({"general__type": "mmproj"}, "is a projector"),
        ({"general__architecture": "clip"}, r"is a projector for images or sound \('clip'\)"),
        ({"general__architecture": "eagle3"}, "is a draft head"),
    ],
)
def test_files_that_tell(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = write(tmp_path / "m.gguf", **changes)
    assert is_auxiliary_file(path)
    with pytest.raises(InvalidModel, match=message):
        read_facts(path)


def test_a_vocabulary_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", tensors=[])
    assert is_auxiliary_file(path)
    with pytest.raises(InvalidModel, match="holds only a vocabulary"):
        read_facts(path)
    assert not is_auxiliary_file(write(tmp_path / "model.gguf", general__type="model"))
    assert not is_auxiliary_file(tmp_path / "none.gguf")


def test_a_cached_file_whose_name_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    write(snapshot / "A-Q8_0.gguf", general__type="adapter")
    assert hub.find_cached(HubName("a/b")) is None
    model = write(snapshot / "Model-Q8_0.gguf")
    assert hub.find_cached(HubName("a/b")) == model
