"""The command line: names, exit codes, and that nothing is overwritten or left half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app import __version__
from app.cli import main
from app.cli_upscale import Job, UsageError, _finished_file, collect
from app.imaging.picture import Pixels
from app.inference.enlarge import enlarge
from tests import models


@pytest.fixture(autouse=True)
def _only_test_models(models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.registry.SHIPPED", models_folder)
    for name in list(os.environ):
        if name.startswith("CHETKO_"):
            monkeypatch.delenv(name)


@pytest.fixture
def photo(tmp_path: Path, noise: Pixels) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(noise).save(path)
    return path


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_picture_lands_beside_its_source(photo: Path, noise: Pixels, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", str(photo), "--model", "nearest"]) == 0
    result = photo.parent / "photo_x4.png"
    np.testing.assert_array_equal(np.asarray(Image.open(result)), noise.repeat(4, 0).repeat(4, 1))
    assert _names(photo.parent) == ["photo.png", "photo_x4.png"]
    output = capsys.readouterr()
    assert f"{photo} -> {result} (332 x 244" in output.out
    assert output.err == "", "no progress bar where there is no terminal"


def test_output_folder_scale_and_format(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "deep"
    assert main(["upscale", str(photo), "-o", f"{out}/", "--scale", "2", "--format", "jpeg"]) == 0
    assert _names(out) == ["photo_x2.jpg"]
    image = Image.open(out / "photo_x2.jpg")
    assert (image.format, image.size) == ("JPEG", (166, 122))


def test_any_factor_and_size(photo: Path, tmp_path: Path) -> None:
    assert main(["upscale", str(photo), "--scale", "2.5"]) == 0
    assert main(["upscale", str(photo), "--width", "249"]) == 0
    cropped = tmp_path / "cropped.png"
    size = ["--width", "200", "--height", "200", "--fit", "cover"]
    assert main(["upscale", str(photo), "-o", str(cropped), *size]) == 0
    assert _names(photo.parent)[-3:] == ["photo.png", "photo_x2.5.png", "photo_x3.png"]
    assert Image.open(photo.parent / "photo_x2.5.png").size == (208, 152)
    assert Image.open(photo.parent / "photo_x3.png").size == (249, 183)
    assert Image.open(cropped).size == (200, 200)
    assert main(["upscale", str(photo.parent), "-o", str(tmp_path / "again"), "--width", "10"]) == 1
    assert main(["upscale", str(photo), *size[:2], "--fit", "cover"]) == 2


@pytest.mark.parametrize(("name", "kind"), [("big.jpg", "JPEG"), ("big.TIF", "TIFF"), ("big.webp", "WEBP")])
def test_the_output_files_extension_sets_the_format(photo: Path, tmp_path: Path, name: str, kind: str) -> None:
    assert main(["upscale", str(photo), "-o", str(tmp_path / name)]) == 0
    assert Image.open(tmp_path / name).format == kind


def test_format_wins_over_the_extension(photo: Path, tmp_path: Path) -> None:
    assert main(["upscale", str(photo), "-o", str(tmp_path / "big.data"), "--format", "png"]) == 0
    assert Image.open(tmp_path / "big.data").format == "PNG"


def test_an_extension_that_names_no_format_is_a_usage_error(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upscale", str(photo), "-o", str(tmp_path / "big.xyz")]) == 2
    assert "big.xyz" in capsys.readouterr().err
    assert _names(tmp_path) == ["photo.png"]


def test_nothing_is_overwritten_without_force(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = photo.parent / "photo_x4.png"
    result.write_bytes(b"mine")
    assert main(["upscale", str(photo)]) == 1
    assert result.read_bytes() == b"mine"
    assert "--force" in capsys.readouterr().err
    assert main(["upscale", str(photo), "--force"]) == 0
    assert Image.open(result).size == (332, 244)
    assert _names(photo.parent) == ["photo.png", "photo_x4.png"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = photo.parent / "photo_x4.png"
    from app import cli_upscale

    real = cli_upscale.enlarge

    def slow(*arguments: object, **options: object) -> object:
        result.write_bytes(b"mine")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cli_upscale, "enlarge", slow)
    assert main(["upscale", str(photo)]) == 1
    assert result.read_bytes() == b"mine"
    assert _names(photo.parent) == ["photo.png", "photo_x4.png"]


def test_results_have_ordinary_permissions(photo: Path) -> None:
    assert main(["upscale", str(photo)]) == 0
    plain = photo.parent / "plain"
    plain.touch()
    assert (photo.parent / "photo_x4.png").stat().st_mode == plain.stat().st_mode


def test_one_broken_picture_does_not_stop_the_others(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:3000])
    missing = tmp_path / "missing.png"
    out = tmp_path / "out"
    assert main(["upscale", str(broken), str(missing), str(photo), "-o", str(out)]) == 1
    assert _names(out) == ["photo_x4.png"], "and nothing is left of the broken one"
    errors = capsys.readouterr().err
    assert f"chetko: {broken}: " in errors
    assert f"chetko: {missing}: " in errors
    assert "No such file" in errors


def test_folders_are_searched_and_repeated_under_the_output(tmp_path: Path, photo: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "in" / "out"
    for name in ("a.png", "sub/b.PNG", "sub/.hidden.png", ".git/c.png", "a_x4.png", "lone_x4.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(photo.read_bytes())
    (source / "notes.txt").write_text("no picture")
    command = ["upscale", str(source), "-o", str(out), "--scale", "2"]
    assert main(command) == 0
    assert _names(out) == ["a_x2.png", "lone_x4_x2.png", "sub/b_x2.png"]
    assert main([*command, "--force"]) == 0
    assert _names(out) == ["a_x2.png", "lone_x4_x2.png", "sub/b_x2.png"], "its own results are not enlarged again"


def test_a_folder_enlarged_in_place_twice_does_not_enlarge_its_results(photo: Path) -> None:
    assert main(["upscale", str(photo.parent)]) == 0
    assert main(["upscale", str(photo.parent), "--scale", "2"]) == 0
    assert _names(photo.parent) == ["photo.png", "photo_x2.png", "photo_x4.png"]


def test_an_empty_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["upscale", str(tmp_path / "empty")]) == 1
    assert "no picture in this folder" in capsys.readouterr().err


def test_two_pictures_of_one_name_do_not_overwrite_each_other(
    tmp_path: Path, photo: Path, noise: Pixels, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / "photo.png"
    other.parent.mkdir()
    Image.fromarray(noise[:10, :10]).save(other)
    out = tmp_path / "out"
    assert main(["upscale", str(photo), str(other), "-o", str(out), "--force"]) == 1
    assert "already the result of another picture" in capsys.readouterr().err
    assert Image.open(out / "photo_x4.png").size == (332, 244)


def test_collecting(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    one, two = Path("a/one.png"), Path("b/two.png")
    assert collect([one], None) == ([Job(one, Path("a"))], [])
    assert collect([one], "x/big.png") == ([Job(one, Path("x"), Path("x/big.png"))], [])
    assert collect([one], "x/") == ([Job(one, Path("x"))], [])
    assert collect([one], str(tmp_path)) == ([Job(one, tmp_path)], [])
    assert collect([one, two], "x") == ([Job(one, Path("x")), Job(two, Path("x"))], [])
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        collect([one, two], str(tmp_path / "file"))


def test_verbose_tells_how(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", str(photo), "--verbose", "--tile", "30"]) == 0
    details = capsys.readouterr().out
    assert "model net 1.0.0, provider CPUExecutionProvider, halo 3 px, tile 36 x 36 px, 9 tiles" in details


def test_unknown_model_is_told_once_and_nothing_is_started(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upscale", str(photo), str(photo), "--model", "wasp", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "chetko: There is no model 'wasp'; there is nearest and net.\n"
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_told_once(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = models.write_model(tmp_path / "own", "net")
    (folder / "x4.onnx").write_bytes(b"damaged")
    monkeypatch.setattr("app.inference.registry.SHIPPED", tmp_path / "own")
    assert main(["upscale", str(photo), str(photo)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "x4.onnx is not the file" in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["upscale"],
        ["upscale", "a.png", "--scale", "9"],
        ["upscale", "a.png", "--scale", "nan"],
        ["upscale", "a.png", "--width", "0"],
        ["upscale", "a.png", "--fit", "crop"],
        ["upscale", "a.png", "--quality", "0"],
        ["upscale", "a.png", "--quality", "101"],
        ["upscale", "a.png", "--tile", "15"],
        ["upscale", "a.png", "--tile", "many"],
        ["upscale", "a.png", "--format", "bmp"],
        ["enlarge", "a.png"],
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_bad_settings_exit_with_2(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHETKO_TILE_MEMORY_MB", "lots")
    assert main(["upscale", str(photo)]) == 2
    assert "CHETKO_TILE_MEMORY_MB" in capsys.readouterr().err


def test_help_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["upscale", "--help"])
    text = capsys.readouterr().out
    for code in ("0 ", "1 ", "2 ", "130 "):
        assert f"\n  {code}" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"chetko {__version__}\n"


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("MODEL")
    assert lines[1].startswith("nearest")
    assert lines[2].startswith("net (default)")
    assert "2x, 4x" in lines[2]


def test_models_as_json_are_the_manifests(models_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    written = [json.loads((models_folder / name / "manifest.json").read_text("utf-8")) for name in ("nearest", "net")]
    for one, other in zip(listed, written, strict=True):
        assert {key: one[key] for key in ("schema", "name", "version", "title")} == {
            key: other[key] for key in ("schema", "name", "version", "title")
        }
        assert one["scales"]["4"]["files"]["uint8"] == other["scales"]["4"]["files"]["uint8"]


def test_light_commands_load_no_heavy_parts() -> None:
    code = (
        "import sys; from app.cli import main; main(['models']); "
        "print([name for name in ('numpy', 'onnxruntime', 'PIL', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [["upscale", "a.png"], ["serve", "--port", "0"]])
def test_without_onnxruntime_one_sentence_says_what_to_install(command: list[str]) -> None:
    code = (
        "import sys; from importlib import metadata\n"
        "def distribution(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.distribution = distribution; sys.modules['onnxruntime'] = None\n"
        f"from app.cli import main; sys.exit(main({command}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("chetko: No onnxruntime is installed")
    assert done.stderr.count("\n") == 1


def test_any_file_name_is_told_in_one_line_of_any_encoding(tmp_path: Path, models_folder: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    names = [b"\xff.png", "\u65e5.png".encode(), b"line\nend.png", b"red\x1b[31m.png"]
    for name in names:
        with open(os.path.join(os.fsencode(source), name), "wb") as file:  # noqa: PTH118, PTH123  # bytes
            Image.new("RGB", (3, 2)).save(file, "PNG")
    code = (
        "import sys, pathlib; from app import cli; from app.inference import registry; "
        "registry.SHIPPED = pathlib.Path(sys.argv.pop(1)); sys.exit(cli.main())"
    )
    for encoding in ("utf-8", "ascii"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(models_folder), "upscale", str(source), "-o", f"{tmp_path}/{encoding}/"],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == len(names)
        assert b"\x1b" not in done.stdout
        assert b"line\\nend_x4.png" in done.stdout


def test_the_work_goes_on_when_the_reader_of_its_output_leaves(tmp_path: Path, photo: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    (tmp_path / "b.png").write_bytes(photo.read_bytes())
    models.write_model(tmp_path / "own", "own", models.nearest, scales=(4,), halo=1)
    done = subprocess.run(
        [sys.executable, "-m", "app", "upscale", str(photo), str(tmp_path / "b.png"), "--model", "own", "-v"],
        env={**os.environ, "CHETKO_MODELS_DIR": str(tmp_path / "own")},
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "photo_x4.png").exists()
    assert (tmp_path / "b_x4.png").exists()


def test_pipes_are_refused_and_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert main(["upscale", str(tmp_path)]) == 1
    assert "not an ordinary file" in capsys.readouterr().err
    assert main(["upscale", str(tmp_path / "pipe.png"), "-o", str(tmp_path / "out.png")]) == 1


def test_a_missing_file_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none.png"
    assert main(["upscale", str(missing)]) == 1
    assert capsys.readouterr().err == f"chetko: {missing}: No such file or directory\n"


def test_a_file_where_the_output_folder_should_be_is_told(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", str(photo), "-o", str(photo / "big.png")]) == 1
    assert f"{photo} cannot be a folder" in capsys.readouterr().err


def test_an_animation_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert main(["upscale", str(tmp_path / "two.gif"), "--format", "png"]) == 0
    assert "only the first of its frames" in capsys.readouterr().err


def test_an_animation_stays_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert main(["upscale", str(tmp_path / "two.gif")]) == 0
    assert capsys.readouterr().err == ""
    result = Image.open(tmp_path / "two_x4.gif")
    assert (result.size, result.n_frames) == ((16, 16), 2)


@pytest.mark.filterwarnings("default")
def test_warnings_of_codecs_are_not_shown(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = enlarge

    def warning(*arguments: Any, **named: Any) -> Any:
        warnings.warn("Corrupt EXIF data", UserWarning, stacklevel=1)
        return original(*arguments, **named)

    monkeypatch.setattr("app.cli_upscale.enlarge", warning)
    with warnings.catch_warnings(record=True) as shown:
        assert main(["upscale", str(photo)]) == 0
    assert shown == []


def test_processes_of_one_number_do_not_write_into_one_file(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers that share a folder: both are process 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with (
        _finished_file(photo.parent / "a.png", force=False) as first,
        _finished_file(photo.parent / "b.png", force=False) as second,
    ):
        first.write(b"first")
        second.write(b"second")
    assert (photo.parent / "a.png").read_bytes() == b"first"
    assert (photo.parent / "b.png").read_bytes() == b"second"


def test_a_terminal_gets_a_bar_with_the_remaining_time(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["upscale", str(photo), "--tile", "16"]) == 0
    shown = capsys.readouterr().err.split("\r")
    assert any("#" in line and "%" in line and "0:00 left" in line for line in shown)
    assert shown[-1] == "\x1b[K", "the bar is gone when the result is told"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str)
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    models.write_model(
        tmp_path / "own", "slow", partial(models.convolutions, layers=12, channels=96), scales=(4,), halo=12
    )
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((900, 900, 3), np.uint8)).save(tmp_path / name)
    out = tmp_path / "out"
    out.mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "app",
            "upscale",
            str(tmp_path / "a.png"),
            str(tmp_path / "b.png"),
            "-o",
            str(out),
            "--model",
            "slow",
            "--tile",
            "64",
        ],
        env={**os.environ, "CHETKO_MODELS_DIR": str(tmp_path / "own")},
        stderr=subprocess.PIPE,
        text=True,
        # Under nohup the tests ignore hang-ups, and a command that they start would do so too, as it should.
        preexec_fn=partial(signal.signal, sent, signal.SIG_DFL),  # noqa: PLW1509 - nothing but a system call
    )
    deadline = time.monotonic() + 60
    while not list(out.iterdir()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(sent)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert list(out.iterdir()) == []
    assert "Traceback" not in error
