#!/usr/bin/env bash
# ONNX Runtime makes an invalid operator of a quantized `AveragePool` that says its dilations, also where they are the default.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6; Python 3.11, x86-64.
# A good guess: `dilations: [1, 1]` is what is meant without it, so that saying it changes nothing; and what has no integer form
#   stays in floats.
# Seen: `DequantizeLinear` → `AveragePool` → `QuantizeLinear` becomes `com.microsoft.QLinearAveragePool` with all attributes, and that
#   one does not know `dilations`: the model is not loaded. Without the attribute, in floats, or not optimised, it is.
# Remedy: leave the attribute out where it says nothing; else use a convolution of each channel with equal weights.
#
# Exit code 0 while this is so, 1 when it has changed. Installs into a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/pip --quiet --disable-pip-version-check install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

tools/bin/python - > seen <<'PYTHON'
import numpy as np, onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ort.set_default_logger_severity(4)


def model(is_quantized, **attributes):
    nodes = [helper.make_node("AveragePool", ["d" if is_quantized else "x"], ["a" if is_quantized else "y"],
                              kernel_shape=[2, 2], **attributes)]
    if is_quantized:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            *nodes,
            helper.make_node("QuantizeLinear", ["a", "s", "z"], ["r"]),
            helper.make_node("DequantizeLinear", ["r", "s", "z"], ["y"]),
        ]
    constants = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(128), "z")]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()


def outcome(bytes, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    try:
        ort.InferenceSession(bytes, options, providers=["CPUExecutionProvider"])
        return "loads"
    except Exception as error:
        said = str(error)
        return "invalid: QLinearAveragePool" if "INVALID_GRAPH" in said and "QLinearAveragePool" in said else said


print("float, dilations 2:", outcome(model(False, dilations=[2, 2])))
print("quantized, none:", outcome(model(True)))
print("quantized, dilations 1:", outcome(model(True, dilations=[1, 1])))
print("quantized, dilations 2:", outcome(model(True, dilations=[2, 2])))
print("quantized, dilations 2, not optimised:", outcome(model(True, dilations=[2, 2]), ort.GraphOptimizationLevel.ORT_DISABLE_ALL))
PYTHON
cat seen
diff - seen <<'EXPECTED'
float, dilations 2: loads
quantized, none: loads
quantized, dilations 1: invalid: QLinearAveragePool
quantized, dilations 2: invalid: QLinearAveragePool
quantized, dilations 2, not optimised: loads
EXPECTED
