#!/usr/bin/env python3
"""Our image path beside libvips and Pillow: the same work, the same core, paired rounds.

    pip install 'pyvips[binary]' pillow numpy scikit-image
    cargo bench --profile dist --features fast-codecs --bench imaging --no-run
    tests/imaging_peers.py --ours target/dist/deps/imaging-… [--rounds 6] [--cpu 1] PICTURE...

Each pipeline decodes a file, makes it at most 1024 px wide and high, lays it on white and encodes a
JPEG of quality 85 with the colours at half the resolution. Every round runs every pipeline on every
file in a process of its own on one core; the first pass is not counted. Times are the process's own
on that core, which other work there does not change much, and by the clock in brackets. A ratio is
taken inside a round, the median over the rounds; times are medians too. `MiB` is the peak over what the process
held before it began. `dB` and `SSIM` compare the luma of the picture that is sent with a full
decode and Lanczos in Pillow.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

SIDE, QUALITY = 1024, 85


def peak_mib():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def fitted(width, height):
    scale = SIDE / max(width, height)
    return (max(1, round(width * scale)), max(1, round(height * scale))) if scale < 1 else (width, height)


def by_vips(content):
    import pyvips

    pyvips.cache_set_max(0)
    image = pyvips.Image.thumbnail_buffer(content, SIDE, height=SIDE, size="down")
    if image.hasalpha():
        image = image.flatten(background=255)
    return image.jpegsave_buffer(Q=QUALITY, keep="none")


def by_pillow(content):
    from PIL import Image

    image = Image.open(io.BytesIO(content))
    size = fitted(*image.size)
    if size != image.size:
        image = image.resize(size, Image.LANCZOS)
    if image.mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    made = io.BytesIO()
    image.convert("RGB").save(made, "JPEG", quality=QUALITY, subsampling=2)
    return made.getvalue()


def run_peer(name, path, passes, out):
    """What one process measures of a peer: one JSON line, as our own benchmark prints."""
    make = {"libvips": by_vips, "pillow": by_pillow}[name]
    with open(path, "rb") as file:
        content = file.read()
    if name == "libvips":
        import pyvips  # noqa: F401  (its start is not the picture's)
    else:
        from PIL import Image

        Image.init()
    before, made = peak_mib(), make(content)
    peak, taken, ran = peak_mib(), [], []
    for _ in range(passes):
        began, busy = time.perf_counter(), time.process_time()
        make(content)
        ran.append((time.process_time() - busy) * 1e3)
        taken.append((time.perf_counter() - began) * 1e3)
    if out:
        with open(out, "wb") as file:
            file.write(made)
    print(json.dumps({"total_ms": statistics.median(taken), "cpu_ms": statistics.median(ran),
                      "before_mib": before, "peak_mib": peak}))


def measured(command, cpu):
    """One process on one core, what it says."""
    environment = dict(os.environ, VIPS_CONCURRENCY="1")
    done = subprocess.run(["taskset", "-c", str(cpu), *command], env=environment,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr[-400:]}")
    return json.loads(done.stdout)


def quality(sent, path):
    """Luma PSNR and SSIM of the picture that is sent against the whole decoded and resized once."""
    import numpy
    from PIL import Image
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    whole, shown = Image.open(path), Image.open(sent)
    if whole.mode == "RGBA":
        ground = Image.new("RGB", whole.size, "white")
        ground.paste(whole, mask=whole.getchannel("A"))
        whole = ground
    luma = lambda image: numpy.asarray(image.convert("L"))
    best = luma(whole.convert("RGB").resize(shown.size, Image.LANCZOS))
    return peak_signal_noise_ratio(best, luma(shown)), structural_similarity(best, luma(shown))


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    words.add_argument("--ours", action="append", default=[], metavar="[NAME=]BENCHMARK")
    words.add_argument("--rounds", type=int, default=6)
    words.add_argument("--passes", type=int, default=5)
    words.add_argument("--cpu", type=int, default=1)
    words.add_argument("--json", help="keeps every single figure")
    words.add_argument("--peer", nargs=2, metavar=("NAME", "OUT"), help=argparse.SUPPRESS)
    words.add_argument("pictures", nargs="+")
    asked = words.parse_args()
    if asked.peer:
        return run_peer(asked.peer[0], asked.pictures[0], asked.passes, asked.peer[1])

    folder = tempfile.mkdtemp(prefix="imaging-")
    passes = ["--passes", str(asked.passes)]
    out = lambda name: os.path.join(folder, name.replace(" ", "-") + ".jpg")
    rows = {name: [sys.executable, __file__, *passes, "--peer", name, out(name)]
            for name in ("libvips", "pillow")}
    for ours in asked.ours:
        name, _, program = ours.rpartition("=")
        name = name or "ours"
        rows[name] = [program, "--bench", *passes, "--out", out(name)]
        rows[f"{name} with checks"] = [program, "--bench", *passes, "--checks"]
    taken, sent = {}, {}
    for number in range(asked.rounds):
        for path in asked.pictures:
            for name, command in rows.items():
                figures = measured([*command, path], asked.cpu)
                taken.setdefault(path, {}).setdefault(name, []).append(figures)
                if number == 0 and os.path.exists(out(name)):
                    sent.setdefault(path, {})[name] = quality(out(name), path)
    for path in asked.pictures:
        print(f"\n{os.path.basename(path)}\n"
              "| pipeline | ms (clock) | of libvips (min-max; clock) | MiB | dB / SSIM |\n|---|---|---|---|---|")
        of = lambda name, key: [one[key] for one in taken[path][name]]
        share = lambda name, base, key: [a / max(b, 0.001) for a, b in zip(of(name, key), of(base, key))]
        for name in taken[path]:
            ratio = share(name, "libvips", "cpu_ms")
            clock = statistics.median(share(name, "libvips", "total_ms"))
            peak = statistics.median(one["peak_mib"] - one["before_mib"] for one in taken[path][name])
            seen = "{:.2f} / {:.4f}".format(*sent[path][name]) if name in sent[path] else ""
            print(f"| {name} | {statistics.median(of(name, 'cpu_ms')):.1f} ({statistics.median(of(name, 'total_ms')):.1f}) "
                  f"| {statistics.median(ratio):.2f} ({min(ratio):.2f}-{max(ratio):.2f}; {clock:.2f}) | {peak:.0f} | {seen} |")
        for ours in asked.ours:
            name = ours.rpartition("=")[0] or "ours"
            both = statistics.median(share(f"{name} with checks", name, "cpu_ms"))
            print(f"\n{name}: with checks {both:.2f} x without")
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump(taken, file)
    return None


if __name__ == "__main__":
    main()
