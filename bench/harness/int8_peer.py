"""What benchmarks of INT8 and of latency ask Python's `onnxruntime`; run by the Python of a virtual environment that has it.

usage:
  int8_peer.py quantize MODEL DATASET INDICES OUT SETTING   the Python tool's INT8 model; SETTING as in SETTINGS
  int8_peer.py accuracy MODEL DATASET OTHER…                JSON: accuracy of MODEL on all test images, and of each OTHER
                                                            with its difference to MODEL on the same images, and how many
                                                            images both take for the same class; `wrong`: places of the
                                                            images that a model takes for another class than theirs
  int8_peer.py latency MODEL BATCH CALLS THREADS            JSON: milliseconds of each call, after a warm-up
DATASET is a file of `data/download`; INDICES a JSON list of training images to calibrate on.
"""

import json
import math
import sys
import time

import numpy as np

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32).reshape(1, 3, 1, 1)
STD = np.array([0.2023, 0.1994, 0.2010], np.float32).reshape(1, 3, 1, 1)
BATCH = 32


def tensor(path, name):
    """A tensor of a safetensors file, not copied."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        info = json.loads(file.read(length))[name]
    start, end = (8 + length + offset for offset in info["data_offsets"])
    kind = {"U8": np.uint8, "I64": np.int64}[info["dtype"]]
    return np.memmap(path, np.uint8, "r")[start:end].view(kind).reshape(info["shape"])


def normalised(pixels):
    return (pixels.astype(np.float32) / 255 - MEAN) / STD


def session(path, threads=2):
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def quantize(model, dataset, indices, out, setting):
    from onnxruntime import quantization as q

    if setting == "dynamic":
        return q.quantize_dynamic(model, out)
    with open(indices) as file:
        images = normalised(tensor(dataset, "train.images")[json.load(file)])

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.batches = iter(np.split(images, range(BATCH, len(images), BATCH)))

        def get_next(self):
            batch = next(self.batches, None)
            return None if batch is None else {"input": batch}

    if setting == "defaults":
        return q.quantize_static(model, out, Reader())
    method = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}[setting]
    return q.quantize_static(
        model,
        out,
        Reader(),
        per_channel=True,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        calibrate_method=q.CalibrationMethod[method],
    )


def classes(model, images):
    """The class that each image is taken for."""
    run = session(model)
    name = run.get_inputs()[0].name
    found = [
        run.run(None, {name: normalised(images[at : at + 500])})[0].argmax(1) for at in range(0, len(images), 500)
    ]
    return np.concatenate(found)


def accuracy(model, dataset, *others):
    images, labels = tensor(dataset, "test.images"), tensor(dataset, "test.labels")
    taken = classes(model, images)
    base = taken == labels
    found = [{"accuracy": 100 * float(base.mean()), "images": len(images), "wrong": np.flatnonzero(~base).tolist()}]
    for other in others:
        seen = classes(other, images)
        own = seen == labels
        gained, lost = int((own & ~base).sum()), int((base & ~own).sum())
        n = len(images)
        difference = (gained - lost) / n
        # Paired: only images on which the two disagree count.
        error = math.sqrt(max(gained + lost - (gained - lost) ** 2 / n, 0)) / n
        found.append(
            {
                "accuracy": 100 * float(own.mean()),
                "agreement": 100 * float((seen == taken).mean()),
                "difference": 100 * difference,
                "low": 100 * (difference - 1.96 * error),
                "high": 100 * (difference + 1.96 * error),
                "wrong": np.flatnonzero(~own).tolist(),
            }
        )
    return found


def latency(model, batch, calls, threads):
    run = session(model, int(threads))
    name, shape = run.get_inputs()[0].name, run.get_inputs()[0].shape
    images = np.random.default_rng(0).standard_normal((int(batch), *shape[1:])).astype(np.float32)
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        run.run(None, {name: images})
    taken = []
    for _ in range(int(calls)):
        start = time.perf_counter_ns()
        run.run(None, {name: images})
        taken.append((time.perf_counter_ns() - start) / 1e6)
    return taken


if __name__ == "__main__":
    command = {"quantize": quantize, "accuracy": accuracy, "latency": latency}[sys.argv[1]]
    print(json.dumps(command(*sys.argv[2:])))
