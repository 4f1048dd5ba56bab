from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality import lies, main, shipped
from training.evaluation.measure import Row
from training.evaluation.methods import SHIPPED


def rows(model: Path, *psnr: float, ssim: float = 0.88) -> list[Row]:
    return [
        Row(str(model), model.name, "computed", 4, "Set5", f"{index}", each, ssim, None, 1.0)
        for index, each in enumerate(psnr)
    ]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "honest"
    folder.mkdir()
    measured = {"Set5": {"psnr": 31.2688, "ssim": 0.8807}}
    (folder / "manifest.json").write_text(json.dumps({"scales": {"4": {"measured": measured}}}))
    return folder


def test_a_manifest_that_tells_the_mean_is_believed(model: Path) -> None:
    assert not list(lies(rows(model, 31.0, 31.53, ssim=0.8803)))


@pytest.mark.parametrize(
    ("psnr", "ssim", "said"),
    [
        (31.2801, 0.8807, "31.2688 as PSNR on Set5 x4; measured is 31.2801"),
        (31.2574, 0.8807, "31.2688 as PSNR on Set5 x4; measured is 31.2574"),
        (31.2688, 0.8790, "0.8807 as SSIM on Set5 x4; measured is 0.8790"),
        (float("nan"), 0.8807, "PSNR on Set5 x4; measured is nan"),
    ],
)
def test_a_hundredth_of_a_decibel_is_a_lie(model: Path, psnr: float, ssim: float, said: str) -> None:
    (sentence,) = lies(rows(model, psnr, ssim=ssim))
    assert said in sentence
    assert str(model / "manifest.json") in sentence


def test_silence_is_a_lie_too(model: Path) -> None:
    (model / "manifest.json").write_text(json.dumps({"scales": {"4": {"measured": {"Set14": {"psnr": 1.0}}}}}))
    assert [sentence.split(" does not tell ")[1] for sentence in lies(rows(model, 31.27))] == [
        "PSNR on Set5 x4",
        "SSIM on Set5 x4",
    ]


def test_a_set_that_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["Set15"])
    assert "there is no set Set15; there are Set5, Set14, BSD100" in capsys.readouterr().err


def test_every_shipped_model_is_measured_at_each_of_its_scales() -> None:
    manifests = {path.parent.name: json.loads(path.read_text()) for path in SHIPPED.glob("[a-z0-9]*/manifest.json")}
    for scale in (2, 4):
        measured = {Path(method.name).name for method in shipped(scale)}
        assert measured == {name for name, manifest in manifests.items() if str(scale) in manifest["scales"]}
