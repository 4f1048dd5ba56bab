"""What may lie in another file of the model, and what may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_export.export import float_restorer
from model_export.heads import WORTH_IT, head, main
from model_export.serving import write_onnx
from training.evaluation.restore import onnx_restorer

ROWS = WORTH_IT // 2 // 4 + 1


def model(rows: np.ndarray, *, name: str = "rows", bias: float = 1.0) -> onnx.ModelProto:
    """``image`` (4 numbers) times ``rows`` plus a bias, each in a tensor of its own."""
    nodes = [
        helper.make_node("MatMul", [name, "image"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["upscaled"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("upscaled", TensorProto.FLOAT, [len(rows)])],
        [numpy_helper.from_array(np.float32([bias]), "bias"), numpy_helper.from_array(rows, name)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def written(path: Path, graph: onnx.ModelProto) -> Path:
    write_onnx(graph, path)
    return path


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).integers(-9, 9, (ROWS, 4)).astype(np.float32)


@pytest.mark.parametrize("name", ["rows", "called_otherwise"])
def test_the_same_weights_are_not_kept_twice(tmp_path: Path, rows: np.ndarray, name: str) -> None:
    whole = written(tmp_path / "whole.onnx", model(rows))
    twin = written(tmp_path / "twin.onnx", model(rows, name=name, bias=2.0))
    made = head(twin, whole)
    assert made is not None
    assert len(made.content) < len(twin.read_bytes()) / 4
    graph = onnx.load_from_string(made.joined(whole))
    onnx.checker.check_model(graph, full_check=True)
    image = np.float32([1, 2, 3, 4])
    answer = onnx.reference.ReferenceEvaluator(graph).run(None, {"image": image})[0]
    np.testing.assert_array_equal(answer, rows @ image + 2.0)


def test_other_weights_stay_in_a_file_of_their_own(tmp_path: Path, rows: np.ndarray) -> None:
    whole = written(tmp_path / "whole.onnx", model(rows))
    rows[3, 2] += 1
    assert head(written(tmp_path / "twin.onnx", model(rows)), whole) is None


def test_few_weights_stay_where_they_are(tmp_path: Path, rows: np.ndarray) -> None:
    whole = written(tmp_path / "whole.onnx", model(rows[:100]))
    assert head(whole, whole) is None


def test_a_small_tensor_with_the_name_of_a_shared_one_keeps_them_apart(tmp_path: Path, rows: np.ndarray) -> None:
    whole = written(tmp_path / "whole.onnx", model(rows))
    twin = model(rows, name="others")
    twin.graph.initializer.append(numpy_helper.from_array(np.float32([0]), "rows.half"))
    assert head(written(tmp_path / "twin.onnx", twin), whole) is None


def test_a_shipped_head_becomes_a_file_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast = Path(__file__).parents[3] / "app" / "models" / "fast"
    assert main([str(fast / "x4.float.head"), "-o", str(tmp_path / "x4.float.onnx")]) == 0
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    twin, bytes_ = float_restorer(tmp_path / "x4.float.onnx")(image), onnx_restorer(fast / "x4.onnx")(image)
    np.testing.assert_allclose(twin.astype(int), bytes_, atol=1)
    assert main([str(fast / "x4.onnx"), "-o", str(tmp_path / "out.onnx")]) == 2
    assert "x4.onnx is not a head" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()
