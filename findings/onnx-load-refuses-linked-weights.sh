#!/usr/bin/env bash
# A model whose weights lie beside it (PyTorch's default export) cannot be opened by `onnx.load` where a package manager or
# a cache has put it there by a link.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, uv 0.13.9, hatchling 1.27.0, numpy 2.4.6; Python 3.11, Linux, one file system.
# A good guess: uv installs what pip installs; the same files, the same behaviour.
# Seen: uv links every file of a wheel from its cache (two hard links each), and onnx refuses external data that has more
#   than one hard link, or is a symbolic link as in a Hugging Face snapshot. ONNX Runtime opens both, and pip's copy opens
#   everywhere. Tools that call `onnx.load` first (checkers, quantizers, simplifiers) fail with it.
# Remedy: `uv pip install --link-mode copy`; of a snapshot, a copy (`cp -L`).
#
# Exit code 0 while this is so, 1 when it has changed. Installs into a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export UV_CACHE_DIR="$folder/uv-cache"

python3 -m venv tools
tools/bin/pip --quiet --disable-pip-version-check install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 uv==0.13.9 hatchling==1.27.0

# A wheel with a small model, its weights beside it.
mkdir -p wheel/smallmodel
touch wheel/smallmodel/__init__.py
tools/bin/python - <<'PYTHON'
import numpy, onnx
from onnx import helper, numpy_helper

graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
    [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 64])],
    [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 64])],
    [numpy_helper.from_array(numpy.ones((64, 64), numpy.float32), "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
onnx.save_model(model, "wheel/smallmodel/model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
PYTHON
cat > wheel/pyproject.toml <<'TOML'
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "smallmodel"
version = "1.0"
[tool.hatch.build.targets.wheel]
packages = ["smallmodel"]
TOML
tools/bin/pip --quiet --disable-pip-version-check wheel --no-deps --no-build-isolation --wheel-dir . ./wheel

# The same wheel, installed by pip, by uv, and by uv with copies.
tools/bin/pip --quiet --disable-pip-version-check install --target by-pip --no-deps smallmodel-*.whl
tools/bin/uv pip install --quiet --python tools/bin/python --target by-uv --no-deps smallmodel-*.whl
tools/bin/uv pip install --quiet --python tools/bin/python --target by-uv-copy --link-mode copy --no-deps smallmodel-*.whl

# As a snapshot of the Hugging Face hub lies on disk.
mkdir -p hub/blobs hub/snapshots/main
cp by-pip/smallmodel/model.onnx hub/blobs/1
cp by-pip/smallmodel/model.onnx.data hub/blobs/2
ln -s ../../blobs/1 hub/snapshots/main/model.onnx
ln -s ../../blobs/2 hub/snapshots/main/model.onnx.data

tools/bin/python - > seen <<'PYTHON'
import onnx, onnxruntime

def attempt(open_it, path):
    try:
        open_it(path)
        return "opens"
    except Exception as error:
        said = str(error)
        for words in ("multiple hard links", "symbolic link"):
            if words in said:
                return words
        return said

for folder in ("by-pip/smallmodel", "by-uv/smallmodel", "by-uv-copy/smallmodel", "hub/snapshots/main"):
    path = f"{folder}/model.onnx"
    print(f"{folder}: onnx.load: {attempt(onnx.load, path)}; ONNX Runtime: {attempt(onnxruntime.InferenceSession, path)}")
PYTHON
cat seen
diff - seen <<'EXPECTED'
by-pip/smallmodel: onnx.load: opens; ONNX Runtime: opens
by-uv/smallmodel: onnx.load: multiple hard links; ONNX Runtime: opens
by-uv-copy/smallmodel: onnx.load: opens; ONNX Runtime: opens
hub/snapshots/main: onnx.load: symbolic link; ONNX Runtime: opens
EXPECTED
