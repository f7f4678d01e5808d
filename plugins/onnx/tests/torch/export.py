"""Exports a small network as PyTorch does by default, with its weights in a file beside it, and as its older exporter does.

usage: export.py, in the folder that gets net.onnx, net.onnx.data and legacy.onnx
Wants `torch` (2.15 made the files that are here), `onnx` and `onnxscript`.
"""

import onnx
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.deep = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.wide = nn.Conv2d(12, 24, 1)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + nn.functional.relu6(self.deep(x))
        x = torch.relu(self.wide(nn.functional.max_pool2d(x, 2)))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


def main():
    torch.manual_seed(7)
    net = Net()
    # Statistics that are not those of a network that has seen nothing.
    for _ in range(20):
        net(torch.randn(64, 3, 8, 8))
    net.eval()
    images = torch.randn(2, 3, 8, 8)
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(net, (images,), "net.onnx", dynamic_shapes=[batch])
    torch.onnx.export(
        net, (images,), "legacy.onnx", dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}}
    )
    # Where each node stands in this file on the machine that exported it.
    model = onnx.load("net.onnx", load_external_data=False)
    for node in model.graph.node:
        del node.metadata_props[:]
    with open("net.onnx", "wb") as file:
        file.write(model.SerializeToString())


main()
