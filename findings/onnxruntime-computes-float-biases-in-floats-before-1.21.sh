#!/usr/bin/env bash
# A quantized convolution with a float bias computes in floats in ONNX Runtime up to 1.20, and in integers from 1.21 on.
#
# Versions: onnxruntime 1.20.1, 1.21.0 and 1.32.0, onnx 1.17.0, numpy 1.26.4; Python 3.11, x86-64.
# A good guess: the bias of a convolution between `DequantizeLinear` and `QuantizeLinear` decides nothing. It is added once for each
#   outcome, and a float one is the smallest: neither a scale nor a node of its own.
# Seen: up to 1.20 the convolution stays a float `Conv` between conversions, slower than the float model, and nothing says so. With an
#   int32 bias behind a `DequantizeLinear` it is a `QLinearConv` in all versions; the scale of that may be computed by a `Mul` of the
#   other two scales, which is folded before operators are matched and takes less room than the numbers.
# Remedy: biases of integers for these versions.
#
# Exit code 0 while this is so, 1 when it has changed. Installs into a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > look.py <<'PYTHON'
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ort.set_default_logger_severity(4)


def executed(bias):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"], axis=0),
    ]
    if bias != "float":
        if bias == "integers, computed scale":
            nodes.append(helper.make_node("Mul", ["s", "ws"], ["bs"]))
        nodes.append(helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], axis=0))
    nodes += [
        helper.make_node("Conv", ["xd", "wd", "floats" if bias == "float" else "bd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["y"]),
    ]
    values = {
        "s": np.float32(0.1), "z": np.uint8(128), "w": np.arange(64).reshape(8, 8, 1, 1).astype(np.int8),
        "ws": np.full(8, 0.01, np.float32), "b": np.arange(8, dtype=np.int32), "floats": np.arange(8, dtype=np.float32),
    }
    if bias == "integers":
        values["bs"] = values["s"] * values["ws"]
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items() if name in read])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    options = ort.SessionOptions()
    options.optimized_model_filepath = "optimised.onnx"
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return next(node.op_type for node in onnx.load("optimised.onnx").graph.node if node.op_type.endswith("Conv"))


for bias in ("float", "integers", "integers, computed scale"):
    print(f"{ort.__version__}, {bias}: {executed(bias)}")
PYTHON
for version in 1.20.1 1.21.0 1.32.0; do
  python3 -m venv --clear tools
  tools/bin/pip --quiet --disable-pip-version-check install onnx==1.17.0 "onnxruntime==$version" numpy==1.26.4
  tools/bin/python look.py
done > seen
cat seen
diff - seen <<'EXPECTED'
1.20.1, float: Conv
1.20.1, integers: QLinearConv
1.20.1, integers, computed scale: QLinearConv
1.21.0, float: QLinearConv
1.21.0, integers: QLinearConv
1.21.0, integers, computed scale: QLinearConv
1.32.0, float: QLinearConv
1.32.0, integers: QLinearConv
1.32.0, integers, computed scale: QLinearConv
EXPECTED
