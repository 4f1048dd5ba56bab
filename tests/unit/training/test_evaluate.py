from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.test_loop import scene
from training.checkpoint import save_checkpoint
from training.evaluation.cli import main
from training.evaluation.metrics import chroma, luma, psnr, shave
from training.evaluation.restore import chroma_psnr, restore_any
from training.networks.fast import Fast
from training.resize import matlab_resize, shrink

MODEL = Path(__file__).parents[3] / "app" / "models" / "fast"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two sharp pictures whose sizes no scale divides."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in (50, 51):
        Image.fromarray(scene(seed)[:157, :151]).save(folder / f"{seed}.png")
    return folder


def mean(path: Path, method: str, dataset: str = "photos") -> dict[str, object]:
    """The mean row of a JSON file."""
    rows = json.loads(path.read_text("utf-8"))["means"]
    return next(row for row in rows if (row["method"], row["dataset"]) == (method, dataset))


def test_rows_are_means_of_the_protocol_and_ours_beats_bicubic(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    assert main([str(MODEL), "--data", str(photos), "--scale", "4", "-o", str(out)]) == 0
    by_hand = []
    for seed in (50, 51):
        sharp = scene(seed)[:156, :148]
        large = matlab_resize(shrink(sharp, 4), 4.0)
        by_hand.append(psnr(shave(luma(large), 4), shave(luma(sharp), 4)))
    bicubic, fast = mean(out, "bicubic"), mean(out, "fast")
    assert bicubic["psnr"] == pytest.approx(float(np.mean(by_hand)), abs=1e-4)
    assert fast["psnr"] > bicubic["psnr"]
    assert fast["ssim"] > bicubic["ssim"]
    assert 0 < fast["lpips"] < 1
    assert fast["seconds_per_megapixel"] > 0
    pictures = json.loads(out.read_text("utf-8"))["pictures"]
    assert [row["psnr"] for row in pictures if row["method"] == "bicubic"] == pytest.approx(by_hand, abs=1e-4)


def test_chroma_has_a_psnr_where_there_is_colour(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    assert main(["--data", str(small_set5(tmp_path)), "-o", str(out)]) == 3
    sharp = scene(60)
    restored = matlab_resize(shrink(sharp, 4), 4.0)
    off = [chroma(image)[4:-4, 4:-4] for image in (restored, sharp[: restored.shape[0], : restored.shape[1]])]
    colour, grey = (row for row in json.loads(out.read_text("utf-8"))["pictures"] if row["method"] == "bicubic")
    assert colour["chroma_psnr"] == pytest.approx(psnr(*off), abs=1e-4)
    assert grey["chroma_psnr"] is None
    assert mean(out, "bicubic", "Set5")["chroma_psnr"] == colour["chroma_psnr"]
    same = np.stack([scene(61)[:, :, 1]] * 3, axis=2)
    assert chroma_psnr(same, same, 4) is None
    assert chroma_psnr(same, same ^ np.uint8([1, 0, 0]), 4) is not None


def test_a_checkpoint_is_measured_too(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Fast(2, 2, 4)  # untrained: exactly nearest neighbour
    state = {"network": "fast", "network_options": network.options, "ema": network.state_dict()}
    save_checkpoint(tmp_path / "mine" / "last.pt", state)
    arguments = [str(tmp_path / "mine" / "last.pt"), "--data", str(photos), "-o", str(tmp_path / "rows.json")]
    assert main([*arguments, "--scale", "2"]) == 0
    assert 10 < mean(tmp_path / "rows.json", "mine")["psnr"] < mean(tmp_path / "rows.json", "bicubic")["psnr"]
    assert main([*arguments, "--scale", "4"]) == 1
    assert "enlarges x2, not x4" in capsys.readouterr().err


def test_checkpoints_of_one_run_have_a_row_each(photos: Path, tmp_path: Path) -> None:
    network = Fast(2, 2, 4)
    paths = [str(tmp_path / "mine" / name) for name in ("step-00000001.pt", "step-00000002.pt")]
    for path in paths:
        state = {"network": "fast", "network_options": network.options, "ema": network.state_dict()}
        save_checkpoint(Path(path), state)
    by_hand = tmp_path / "grown.pt"
    save_checkpoint(by_hand, state)
    assert main([*paths, str(by_hand), "--data", str(photos), "-o", str(tmp_path / "rows.json"), "--scale", "2"]) == 0
    for path in (*paths, "grown"):
        assert mean(tmp_path / "rows.json", path)["title"] == path


def small_set5(folder: Path) -> Path:
    """A set with the name of a published one: a colour picture and a grey one."""
    for name in ("HR", "LR_x4"):
        (folder / "Set5" / name).mkdir(parents=True)
    for name, sharp in (("001", scene(60)), ("002", scene(61)[:, :, 1])):
        Image.fromarray(sharp).save(folder / f"Set5/HR/{name}.png")
        Image.fromarray(shrink(sharp, 4)).save(folder / f"Set5/LR_x4/{name}.png")
    return folder / "Set5"


def test_a_bicubic_row_that_is_not_the_published_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(small_set5(tmp_path))]) == 3
    captured = capsys.readouterr()
    assert "the protocol is off: bicubic x4 on Set5" in captured.err
    assert "bicubic" in captured.out
    (tmp_path / "Set5/LR_x4/001.png").unlink()
    assert main(["--data", str(tmp_path / "Set5")]) == 1
    assert "001.png is missing" in capsys.readouterr().err


def test_published_figures_and_grey_as_rgb_are_rows_of_their_own_in_every_format(tmp_path: Path) -> None:
    published = {
        "PSNR": {"bicubic": [1.0, 2.0], "Kim": [30.0, 31.0]},
        "SSIM": {"bicubic": [0.1, 0.2], "Kim": [0.8, 0.9]},
    }
    (tmp_path / "published.json").write_text(json.dumps({"Set5/x4": published}))
    outputs = [tmp_path / f"rows.{ending}" for ending in ("json", "csv", "md", "html")]
    arguments = ["--data", str(small_set5(tmp_path)), "--published", str(tmp_path / "published.json"), "--grey-as-rgb"]
    assert main([*arguments, "-o", *map(str, outputs)]) == 3
    kim = mean(outputs[0], "Kim (published)", "Set5")
    assert (kim["kind"], kim["psnr"], kim["lpips"]) == ("published", 30.5, None)
    pictures = {(row["method"], row["picture"]): row["psnr"] for row in json.loads(outputs[0].read_text())["pictures"]}
    assert pictures["bicubic (grey as RGB)", "001"] == pictures["bicubic", "001"]
    # Studio range is 219 of 255 levels: the same error counts for 20 log10(255 / 219) dB less.
    assert pictures["bicubic (grey as RGB)", "002"] == pytest.approx(
        pictures["bicubic", "002"] + 20 * math.log10(255 / 219), abs=0.1
    )
    with outputs[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 + 3
    assert [row["picture"] for row in rows[-3:]] == ["mean"] * 3
    assert "| *Kim (published)* | 30.50 | 0.8500 | - | - |" in outputs[2].read_text()
    page = outputs[3].read_text("utf-8")
    assert page.count("<figure>") == 2 * 3  # LR, bicubic, original of each picture
    assert page.count("data:image/png;base64,") == 2 * 3
    assert "http" not in page
    assert '<tr class="published"><td>Kim (published)<td>30.50' in page


def test_published_figures_of_other_pictures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published = {"PSNR": {"Kim": [30.0]}, "SSIM": {"Kim": [0.8]}}
    (tmp_path / "published.json").write_text(json.dumps({"Set5/x4": published}))
    arguments = ["--data", str(small_set5(tmp_path)), "--published", str(tmp_path / "published.json")]
    assert main(arguments) == 1
    assert "does not hold published figures of Set5's pictures" in capsys.readouterr().err


def test_the_held_out_pages_have_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fast", "--data", "text", "-o", str(tmp_path / "rows.json")]) == 0
    assert (
        mean(tmp_path / "rows.json", "fast", "text")["psnr"] > mean(tmp_path / "rows.json", "bicubic", "text")["psnr"]
    )
    assert "text dB" in capsys.readouterr().out


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 1
    assert "holds no picture" in capsys.readouterr().err
    for name in (str(tmp_path / "no-model"), "no-model", "no-model.onnx"):
        assert main([name, "--data", str(tmp_path)]) == 1
        assert "does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "-o", "rows.xlsx"])
    assert "the ending says what to write" in capsys.readouterr().err


def test_grey_is_restored_as_three_equal_channels_and_their_mean() -> None:
    grey = scene(70)[:, :, 0]

    def spread(image: np.ndarray) -> np.ndarray:
        assert (image == image[:, :, :1]).all()
        return np.stack([image[:, :, 0], image[:, :, 0] // 2, image[:, :, 0] // 4], axis=2)

    expected = np.floor(spread(np.repeat(grey[:, :, None], 3, 2)).astype(float).mean(axis=2) + 0.5)
    np.testing.assert_allclose(restore_any(spread, grey), expected, atol=1)
    assert restore_any(spread, grey).ndim == 2
    assert math.isfinite(psnr(luma(grey), luma(restore_any(spread, grey))))
