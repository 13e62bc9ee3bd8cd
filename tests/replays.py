#!/usr/bin/env python3
"""`vlmgate drift replay` held to labelled streams of verdicts.

    tests/replays.py STREAMS [--vlmgate target/release/vlmgate] [--seeds N] [--first SEED]

STREAMS holds `examples/NAME.jsonl.gz`, each with the `NAME.truth.json` that says what happened in it
and what the reference monitor told when. Of each example the first event (changes of policy aside)
must have the label of the truth, come after the onset, and take at most a tenth longer or shorter
than the reference's; where nothing happened nothing may be told. `--seeds` draws as many fresh
streams of every scenario with the generator in STREAMS (`gen_streams.py`, which takes numpy): nine in
ten of all of them must be told rightly, and none before its onset. Exit code 1 where a line is missed.
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import sys

# what a scenario is drawn with, where it is not drawn as most are
USUAL = {"per_day": 4000, "days": 2.7, "onset_day": 2.05, "shadow": 0.25, "shift": 0.06}
OTHERS = {
    "outage_6min": {"per_day": 100_000, "days": 0.112, "onset_day": 0.1, "shadow": 0.05},
    "provider_regression_secondary": {"days": 4.0},
    "slow_ramp": {"days": 3.2},
    "routing": {"days": 2.4},
}
# the time in which two monitors may differ by a look, in milliseconds
ONE_LOOK_MS = 60_000


def told(vlmgate, scenario, lines):
    """The events of a stream but for changes of policy: label and moment."""
    days = "0.1d" if scenario == "outage_6min" else "2d"
    command = [vlmgate, "drift", "replay", "-", "--baseline", days, "--json"]
    done = subprocess.run(command, input=lines, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{scenario}: {done.stderr.decode()[-400:]}")
    named = [(event["label"], event["at"]) for event in json.loads(done.stdout)["events"]]
    return [event for event in named if event[0] != "policy_annotation"]


def early(events, truth):
    return truth["onset_ms"] is not None and any(at < truth["onset_ms"] for _, at in events)


def examples(vlmgate, streams):
    """How many examples are not told as they should be."""
    print("| example | truth | told | after the onset, min | the reference | |\n|---|---|---|---|---|---|")
    missed, files = 0, sorted((streams / "examples").glob("*.jsonl.gz"))
    if not files:
        sys.exit(f"no example in {streams}")
    for file in files:
        scenario = file.name.removesuffix(".jsonl.gz")
        truth = json.loads(file.with_name(scenario + ".truth.json").read_text("utf-8"))
        events = told(vlmgate, scenario, gzip.decompress(file.read_bytes()))
        first = events[0][0] if events else "none"
        ours, theirs = None, None
        holds = first == truth["label"] and not early(events, truth)
        if events and truth["reference_events"]:
            ours = events[0][1] - truth["onset_ms"]
            theirs = truth["reference_events"][0]["at"] - truth["onset_ms"]
            holds = holds and abs(ours - theirs) <= max(theirs / 10, ONE_LOOK_MS)
        minutes = lambda ms: "" if ms is None else f"{ms / 60_000:.1f}"
        print(f"| {scenario} | {truth['label']} | {first} | {minutes(ours)} | {minutes(theirs)} "
              f"| {'met' if holds else 'MISSED'} |", flush=True)
        missed += not holds
    return missed


def fresh(vlmgate, streams, seeds):
    """Whether too few fresh streams are told rightly, or one before its onset."""
    sys.path.insert(0, str(streams))
    sys.dont_write_bytecode = True
    from gen_streams import SCEN, generate

    print(f"\n| seeds {seeds.start} to {seeds.stop - 1} | right | before the onset | told instead |\n|---|---|---|---|")
    hits = before = 0
    for scenario in SCEN:
        right, soon, instead = 0, 0, []
        for seed in seeds:
            events, truth = generate(scenario, seed, **(USUAL | OTHERS.get(scenario, {})))
            lines = "".join(json.dumps(event) + "\n" for event in events).encode()
            tells = told(vlmgate, scenario, lines)
            first = tells[0][0] if tells else "none"
            right += first == truth["label"]
            soon += early(tells, truth)
            instead += [first] if first != truth["label"] else []
        print(f"| {scenario} | {right} of {len(seeds)} | {soon} | {', '.join(instead)} |", flush=True)
        hits, before = hits + right, before + soon
    drawn = len(SCEN) * len(seeds)
    print(f"{hits} of {drawn} told rightly (at least nine in ten), {before} before the onset (none)")
    return hits * 10 < drawn * 9 or before > 0


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    words.add_argument("streams", type=pathlib.Path)
    words.add_argument("--vlmgate", default="target/release/vlmgate")
    words.add_argument("--seeds", type=int, default=0)
    words.add_argument("--first", type=int, default=7000)
    asked = words.parse_args()
    missed = examples(asked.vlmgate, asked.streams)
    if asked.seeds:
        seeds = range(asked.first, asked.first + asked.seeds)
        missed += fresh(asked.vlmgate, asked.streams, seeds)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
