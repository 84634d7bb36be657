"""Every step from the trained model to the deployed file, compared: networks x bits, one table.

python benchmarks/parity.py [--networks mobilenet_v3_small,...] [--bits w8a8,w4a4,...]
    [--cifar FOLDER --checkpoint FILE] [--steps 60] [--images 1000] [--folder DIR]

Each network has its sweep on the command line: torchvision's without weights, on scikit-learn's
digits as colour images of 32x32 or, with `--cifar`, on CIFAR-10, with so many steps of QAT and six
times as many of FP32. MobileNetV3's slow running statistics are far off after so few, and all
images would be one class, on which any two models agree: they are estimated anew. With
`--checkpoint` also, or alone, ResNet-20. The Markdown table is read from the parity certificates
in the records.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from qatexp.data.sources import digits
from qatexp.records import Record, load_record

TORCHVISION = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0")
BITS = ("w8a8", "w4a4", "w3a3", "w2a2", "w4a8", "w8a4")
COMMON = ("trainer.threads=1", "measure.rounds=3", "schedule.control=false")


def main() -> None:
    """Run the sweeps and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", default=",".join(TORCHVISION))
    parser.add_argument("--bits", default=",".join(BITS))
    parser.add_argument("--cifar", type=Path, help="images of CIFAR-10")
    parser.add_argument("--checkpoint", type=Path, help="of ResNet-20, which needs --cifar")
    parser.add_argument("--steps", type=int, default=60, help="of QAT")
    parser.add_argument("--images", type=int, default=1000, help="of the certificate, at most")
    parser.add_argument("--folder", type=Path, help="where the sweeps run; default: a new one")
    options = parser.parse_args()
    home = options.folder or Path(tempfile.mkdtemp(prefix="parity_"))
    home.mkdir(parents=True, exist_ok=True)
    bits = options.bits.split(",")
    if options.checkpoint is not None and options.cifar is None:
        parser.error("--checkpoint needs --cifar")
    if options.cifar is None:
        data = digits_as_photos(home, options.steps)
    else:
        data = [
            "experiment=cifar10_resnet20",
            f"dataset.root={options.cifar.resolve()}",
            f"debug.limit_batches={options.steps}",
            "schedule.fp32.epochs=6",
            "schedule.qat.epochs=1",
        ]
    experiments = {
        # Of a network that has hardly learned, 4-bit activations die, and gradients explode.
        name: [
            *data,
            f"model={name}",
            "schedule.qat.clip_grad_norm=1.0",
            "schedule.qat.reestimate_bn=20",
        ]
        for name in options.networks.split(",")
        if name
    }
    if options.checkpoint is not None:
        checkpoint = f"model.checkpoint={options.checkpoint.resolve()}"
        experiments["resnet20"] = [*data, checkpoint, "schedule.fp32.epochs=0"]
    print(
        "| network | bits | top-1 | weight codes moved | flipped by folding | folded = converted "
        "| unoptimized file agrees | deployed file agrees | codes that the reference predicts |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, overrides in experiments.items():
        for label, record in sweep(home, [*overrides, *COMMON], bits, options.images):
            print(f"| {name} | {label} | {row(record)} |", flush=True)


def digits_as_photos(home: Path, steps: int) -> list[str]:
    """Write the digits as a folder of images; overrides for as many epochs as it takes.

    Torchvision's networks take three channels, and learn these in a minute: predictions of a
    network that has not learned anything are near-ties, which a single code flips.
    """
    source, batch = digits(), 64
    for split, part in (("train", source.train), ("test", source.test)):
        for index, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
            folder = home / "digits" / split / source.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            large = Image.fromarray(image[0].numpy()).resize((32, 32), Image.Resampling.BILINEAR)
            large.convert("RGB").save(folder / f"{index:04}.png")
    epochs = math.ceil(steps / (len(source.train.labels) // batch))
    return [
        "dataset=imagefolder",
        f"dataset.root={(home / 'digits').resolve()}",
        "dataset.image_size=32",
        f"dataset.batch_size={batch}",
        "dataset.val_fraction=0",
        "dataset.augment.flip=false",
        "dataset.augment.random_resized_crop=false",
        f"schedule.fp32.epochs={6 * epochs}",
        "schedule.fp32.select=last",
        f"schedule.qat.epochs={epochs}",
        "schedule.qat.select=last",
    ]


def sweep(
    home: Path, overrides: list[str], bits: list[str], images: int
) -> list[tuple[str, Record]]:
    """Run one network at all bits; the records by the name of the bits."""
    points = home / "points.yaml"
    pairs = [pair for name in bits for pair in re.findall(r"w(\d)a(\d)", name)]
    points.write_text(
        "".join(
            f"- {{qconfig.weight.bits: {weight}, qconfig.activation.bits: {activation}}}\n"
            for weight, activation in pairs
        )
    )
    command = [
        str(Path(sys.executable).with_name("qatexp")),
        "-m",
        *overrides,
        f"sweep.points={points}",
        f"measure.certificate_images={images}",
    ]
    subprocess.run(command, cwd=home, check=True, stdout=sys.stderr, stderr=sys.stderr)
    plans = (home / "multirun" / "sweep").glob("*/sweep.json")
    folder = max(plans, key=lambda plan: plan.stat().st_mtime).parent
    return [(name.upper(), load_record(folder / str(index))) for index, name in enumerate(bits)]


def row(record: Record) -> str:
    """The cells of one trial."""
    assert record.parity is not None
    certificate = record.parity.certificate
    assert certificate is not None
    share = certificate.reference_codes_share
    predicted = "not compared" if share is None else f"{share:.3%}"
    named = ", ".join(certificate.reference_unmodelled)
    return " | ".join(
        [
            f"{record.variants['qat'].deployed_top1:.2f} %",
            str(certificate.weight_codes_moved),
            f"{certificate.folding.flipped} of {certificate.images}",
            "yes" if certificate.folded_equals_converted else "NO",
            f"{certificate.unoptimized.top1_agreement:.2%}",
            f"{certificate.optimized.top1_agreement:.2%}",
            f"{predicted} ({named})" if named else predicted,
        ]
    )


if __name__ == "__main__":
    main()
