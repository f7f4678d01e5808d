"""Checks a model by Python's `onnx` and compares its logits with a reference model's in ONNX Runtime.

usage: peers.py MODEL REFERENCE IMAGES
IMAGES is a tar file of CIFAR-10's binary format, or a path that does not exist: then only random inputs are used.
"""

import os
import sys
import tarfile

import numpy as np
import onnx
import onnxruntime


def images(path, count):
    """Normalised float images [count, 3, 32, 32]."""
    with tarfile.open(path) as archive:
        data = archive.extractfile("cifar-10-batches-bin/test_batch.bin").read()
    records = np.frombuffer(data, np.uint8).reshape(-1, 3073)[:count]
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    mean = np.array([0.4914, 0.4822, 0.4465], np.float32).reshape(1, 3, 1, 1)
    std = np.array([0.2023, 0.1994, 0.2010], np.float32).reshape(1, 3, 1, 1)
    return (pixels - mean) / std


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main():
    model, reference, archive = sys.argv[1:]
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.load(model).graph
    assert [value.name for value in graph.input] == ["input"], graph.input
    assert [value.name for value in graph.output] == ["output"], graph.output
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    inputs = [np.random.default_rng(batch).standard_normal((batch, 3, 32, 32)).astype(np.float32) for batch in (1, 7)]
    if os.path.exists(archive):
        inputs.append(images(archive, 128))
    ours, theirs = session(model), session(reference)
    for batch in inputs:
        (a,) = ours.run(["output"], {"input": batch})
        (b,) = theirs.run(["output"], {"input": batch})
        difference = float(np.abs(a - b).max())
        assert a.shape == b.shape and difference <= 1e-4, f"logits differ by {difference} on {len(batch)} images"
        print(f"{len(batch)} images: largest difference {difference:.2e}")


main()
