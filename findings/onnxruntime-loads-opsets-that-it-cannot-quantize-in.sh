#!/usr/bin/env bash
# ONNX Runtime loads models of an opset for whose `QuantizeLinear` it has no kernel.
#
# Versions: onnxruntime 1.15.1, 1.23.2 and 1.32.0, onnx 1.17.0, numpy 1.26.4; Python 3.11, x86-64.
# A good guess: a runtime that loads float models of an opset runs quantized ones of it, too. The page on compatibility has one opset for
#   each version: 19 for 1.15, 23 for 1.23.
# Seen: 1.15 rounds up to opset 18, 1.23 up to 22 and 1.32 up to 27, one less than the newest of which they run a `Relu`. The
#   error is NOT_IMPLEMENTED, of `QuantizeLinear` or `DequantizeLinear`.
# Remedy: write quantized models in an older opset than the runtime is said to know.
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
ROUNDED = [
    helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
    helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
]
FLOATS = [helper.make_node("Relu", ["x"], ["y"])]


def newest(nodes):
    """The newest opset of which these nodes run."""
    found = 0
    for opset in range(13, 30):
        constants = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(0), "z")]
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        try:
            session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            session.run(None, {"x": np.ones(4, np.float32)})
            found = opset
        except Exception:
            pass
    return found


print(f"{ort.__version__}: floats up to {newest(FLOATS)}, rounded up to {newest(ROUNDED)}")
PYTHON
for version in 1.15.1 1.23.2 1.32.0; do
  python3 -m venv --clear tools
  tools/bin/pip --quiet --disable-pip-version-check install onnx==1.17.0 "onnxruntime==$version" numpy==1.26.4
  tools/bin/python look.py
done > seen
cat seen
diff - seen <<'EXPECTED'
1.15.1: floats up to 19, rounded up to 18
1.23.2: floats up to 23, rounded up to 22
1.32.0: floats up to 28, rounded up to 27
EXPECTED
