#!/usr/bin/env bash
# ONNX Runtime loads a quantized model with a `Pad` of two named axes between convolutions, and then cannot run it.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6; Python 3.11, x86-64.
# A good guess: `Pad` has had the input `axes` since opset 18; a model that loads, of valid operators, runs, and optimisation
#   changes its speed alone.
# Seen: around integer convolutions the channels are put last, and the pads are put in another order as if there were one for each
#   axis: "indices element out of data bounds". The float model runs, and so does the quantized one without optimisation, or with
#   the pads of all axes written out.
# Remedy: write out the pads of all axes before quantizing.
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


def model(is_quantized, has_axes):
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    scale, zero = constant("scale", np.float32(0.05)), constant("zero", np.uint8(128))
    weight_zero = constant("weight_zero", np.int8(0))

    def rounded(name):
        if not is_quantized:
            return name
        nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [name + "_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [name + "_q", scale, zero], [name + "_d"]))
        return name + "_d"

    def convolution(source, target):
        weights = constant(target + "_w", np.arange(144, dtype=np.int8).reshape(4, 4, 3, 3))
        nodes.append(helper.make_node("DequantizeLinear", [weights, scale, weight_zero], [target + "_f"]))
        nodes.append(helper.make_node("Conv", [source, target + "_f"], [target]))

    convolution(rounded("x"), "a")
    if has_axes:
        pads = [constant("pads", np.int64([1, 1, 1, 1])), "", constant("axes", np.int64([2, 3]))]
    else:
        pads = [constant("pads", np.int64([0, 0, 1, 1, 0, 0, 1, 1]))]
    nodes.append(helper.make_node("Pad", [rounded("a"), *pads], ["p"]))
    convolution(rounded("p"), "y")
    rounded("y")
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 12, 12])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def outcome(bytes, level):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(bytes, options, providers=["CPUExecutionProvider"])
    try:
        session.run(None, {"x": np.ones((1, 4, 12, 12), np.float32)})
        return "runs"
    except Exception as error:
        return "indices out of bounds" if "out of data bounds" in str(error) else str(error)


levels = ort.GraphOptimizationLevel
print("float, some axes:", outcome(model(False, True), levels.ORT_ENABLE_ALL))
print("quantized, all axes:", outcome(model(True, False), levels.ORT_ENABLE_ALL))
print("quantized, some axes:", outcome(model(True, True), levels.ORT_ENABLE_ALL))
print("quantized, some axes, not optimised:", outcome(model(True, True), levels.ORT_DISABLE_ALL))
PYTHON
cat seen
diff - seen <<'EXPECTED'
float, some axes: runs
quantized, all axes: runs
quantized, some axes: indices out of bounds
quantized, some axes, not optimised: runs
EXPECTED
