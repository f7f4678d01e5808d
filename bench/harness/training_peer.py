"""PyTorch training TinyNet; run by the Python of a virtual environment that has it.

usage: training_peer.py SETTING DATASET STEPS THREADS

DATASET is a file of `data/download`. Prints JSON: images a second over STEPS steps after a warm-up, with everything that a
step needs: reading, augmenting and normalising 128 images, forward, backward, SGD.

SETTING is `notebook`, the loop as notebooks have it: a DataLoader with two workers that changes image by image, eager, channel
by channel. Or `best`, what was found fastest: compiled, channels last, whole batches augmented at once. (That glibc keeps
large blocks is decided before Python starts: MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_.)
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

BATCH = 128
WARM_UP = 10
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2023, 0.1994, 0.2010]).view(3, 1, 1)


def norm_relu6(channels):
    return [nn.BatchNorm2d(channels), nn.ReLU6(inplace=True)]


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(adaptive_avg_pool2d(x, 1)))))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, expand, stride):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, expand, 1, bias=False),
            *norm_relu6(expand),
            nn.Conv2d(expand, expand, 3, stride, 1, groups=expand, bias=False),
            *norm_relu6(expand),
            SqueezeExcite(expand, 4),
            nn.Conv2d(expand, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.skip else self.layers(x)


class TinyNet(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = [(24, 48, 1), (24, 48, 1), (32, 72, 2), (32, 72, 1), (48, 96, 2), (48, 96, 1), (64, 128, 2)]
        inputs = [16, *[outputs for outputs, _, _ in blocks]]
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False),
            *norm_relu6(16),
            *[InvertedResidual(before, *block) for before, block in zip(inputs, blocks, strict=False)],
        )
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.dropout(adaptive_avg_pool2d(self.features(x), 1).flatten(1)))


def tensor(path, name):
    """A tensor of a safetensors file."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        info = json.loads(file.read(length))[name]
    start, end = (8 + length + offset for offset in info["data_offsets"])
    kind = {"U8": np.uint8, "I64": np.int64}[info["dtype"]]
    return torch.from_numpy(np.fromfile(path, np.uint8, end - start, offset=start).view(kind).reshape(info["shape"]))


class Images(torch.utils.data.Dataset):
    """Image by image, as torchvision's RandomCrop, RandomHorizontalFlip, ToTensor and Normalize."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        padded = torch.nn.functional.pad(self.images[index], (4, 4, 4, 4))
        down, right = torch.randint(0, 9, (2,)).tolist()
        image = padded[:, down : down + 32, right : right + 32]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return (image.float() / 255 - MEAN) / STD, self.labels[index]


def one_by_one(images, labels):
    loader = torch.utils.data.DataLoader(
        Images(images, labels), batch_size=BATCH, shuffle=True, num_workers=2, drop_last=True
    )
    while True:
        yield from loader


def whole_batches(images, labels):
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4)).permute(0, 2, 3, 1).contiguous()
    mean, std = MEAN.view(3), STD.view(3)
    while True:
        for chosen in torch.randperm(len(labels)).split(BATCH)[: len(labels) // BATCH]:
            rows = torch.randint(0, 9, (BATCH, 1, 1)) + torch.arange(32).view(1, 32, 1)
            columns = torch.arange(32).repeat(BATCH, 1)
            columns = torch.where(torch.rand(BATCH, 1) < 0.5, columns, 31 - columns)
            columns = (torch.randint(0, 9, (BATCH, 1)) + columns).view(BATCH, 1, 32)
            batch = padded[chosen.view(BATCH, 1, 1), rows, columns]
            yield ((batch.float() / 255 - mean) / std).permute(0, 3, 1, 2), labels[chosen]


def main(setting, dataset, steps, threads):
    torch.set_num_threads(int(threads))
    torch.manual_seed(42)
    images, labels = tensor(Path(dataset), "train.images"), tensor(Path(dataset), "train.labels").long()
    network = TinyNet().train()
    if setting == "best":
        network = torch.compile(network.to(memory_format=torch.channels_last))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    batches = (whole_batches if setting == "best" else one_by_one)(images, labels)
    for step in range(WARM_UP + int(steps)):
        if step == WARM_UP:
            started = time.perf_counter()
        batch, wanted = next(batches)
        optimiser.zero_grad()
        loss = loss_of(network(batch), wanted)
        loss.backward()
        optimiser.step()
    taken = time.perf_counter() - started
    print(json.dumps({"images_per_second": BATCH * int(steps) / taken, "loss": loss.item()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
