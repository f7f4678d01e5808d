#!/usr/bin/env bash
# A quantized `Gemm` whose `Relu` feeds an operator in floats is computed in floats by ONNX Runtime, from weights that it expands anew
# in every call.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6; Python 3.11, x86-64.
# A good guess: a `Gemm` of dequantized operands is an integer product (`QGemm`), whether its outcome is rounded or not: it may give
#   floats; a `Relu` behind it changes nothing about that.
# Seen: without the `Relu` it is a `QGemm`; with it, `Gemm` and `Relu` become one float operator first, and the int8 weights go through
#   `DequantizeLinear` whenever the model runs. With the `Relu`'s outcome rounded it is a `QGemm` again.
# Remedy: round behind the `Relu`, whatever reads it.
#
# Exit code 0 while this is so, 1 when it has changed. Installs into a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/pip --quiet --disable-pip-version-check install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

tools/bin/python - > seen <<'PYTHON'
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ort.set_default_logger_severity(4)


def executed(has_relu, is_rounded):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wd"]),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"]),
        helper.make_node("Gemm", ["xd", "wd", "bd"], ["g"]),
    ]
    last = "g"
    if has_relu:
        nodes.append(helper.make_node("Relu", [last], ["r"]))
        last = "r"
    if is_rounded:
        nodes.append(helper.make_node("QuantizeLinear", [last, "s", "z"], ["rq"]))
        nodes.append(helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["rd"]))
        last = "rd"
    nodes.append(helper.make_node("Softmax", [last], ["y"]))
    values = {
        "s": np.float32(0.1), "z": np.uint8(0), "wz": np.int8(0), "bs": np.float32(0.01), "bz": np.int32(0),
        "w": np.arange(64 * 8).reshape(64, 8).astype(np.int8), "b": np.arange(8, dtype=np.int32),
    }
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = ort.SessionOptions()
    options.optimized_model_filepath = "optimised.onnx"
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load("optimised.onnx").graph
    constants = {tensor.name for tensor in graph.initializer}
    product = next(node.op_type for node in graph.node if node.op_type.endswith("Gemm"))
    expanded = any(node.op_type == "DequantizeLinear" and node.input[0] in constants for node in graph.node)
    return f"{product}, weights {'expanded in every call' if expanded else 'as they are'}"


print("Gemm:", executed(False, False))
print("Gemm, Relu:", executed(True, False))
print("Gemm, Relu, rounded:", executed(True, True))
PYTHON
cat seen
diff - seen <<'EXPECTED'
Gemm: QGemm, weights as they are
Gemm, Relu: FusedGemm, weights expanded in every call
Gemm, Relu, rounded: QGemm, weights as they are
EXPECTED
