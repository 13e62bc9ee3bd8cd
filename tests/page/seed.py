"""Seeds a gate's store with made-up verdicts: more than a week as usual, then an hour in which the primary
refuses calls for six minutes and its second steps in, who rejects more. Every reason says that it is simulated.

    seed.py STORE.db TEMPLATE.json [--day N] [--minute N] [--findings N] [--risky N] [--seed N]

STORE.db is a store that the gate has opened once, TEMPLATE.json a record of it as `GET /v1/verdicts/{id}`
answers. Prints as JSON when the outage was and what it did to the rate. The law: an image has one quality for
all judges, each sees it through noise of its own, and each rejects its own share in the long run.
"""

import argparse
import json
import math
import random
import sqlite3
import time
import uuid
from statistics import NormalDist

REJECTS = {
    "openai-mini": 0.062,
    "claude-haiku": 0.133,
    "gemini-flash": 0.086,
    "mistral-vision": 0.099,
}
USUAL = {
    "openai-mini": 0.958,
    "claude-haiku": 0.016,
    "gemini-flash": 0.022,
    "mistral-vision": 0.004,
}
LATENCY_MS = {
    "openai-mini": (640, 0.22),
    "claude-haiku": (910, 0.28),
    "gemini-flash": (710, 0.3),
    "mistral-vision": (880, 0.5),
}
COST = {"openai-mini": 200, "claude-haiku": 240, "gemini-flash": 810, "mistral-vision": 250}
PASS_AT = {"cutout": 0.70, "edge_artifacts": 0.75, "contact_shadow": 0.60}
NOISE = 0.25
BASELINE_DAYS = 9
OUTAGE_MIN = (28, 22)  # minutes before now
REFUSED = 0.41
PAIRED = 0.06
COMMIT_EVERY = 20_000  # the log of one transaction is as long as all that is in it


def line(judge):
    """The quality, in standard deviations, under which this judge rejects."""
    return NormalDist().inv_cdf(REJECTS[judge]) * math.sqrt(1 + NOISE * NOISE)


LINES = {judge: line(judge) for judge in REJECTS}


class Image:
    """What all judges look at: one quality, and the criterion it is worst on."""

    def __init__(self, chance):
        self.chance = chance
        self.quality = chance.gauss(0, 1)
        self.worst = chance.choices(list(PASS_AT), [0.55, 0.3, 0.15])[0]

    def judged(self, judge):
        """(rejected, score by criterion) as this judge sees it."""
        margin = self.quality + self.chance.gauss(0, NOISE) - LINES[judge]
        scores = {one: round(min(0.99, self.chance.gauss(0.93, 0.03)), 2) for one in PASS_AT}
        at = PASS_AT[self.worst] + 0.09 * margin
        # never on the line itself: rounding must not change what is said
        at = max(0.02, min(0.97, at))
        scores[self.worst] = (
            round(at, 3)
            if abs(at - PASS_AT[self.worst]) > 0.002
            else PASS_AT[self.worst] + math.copysign(0.002, margin)
        )
        return margin < 0, scores


def attempt(template, judge, route, outcome, started, took, said, scores):
    """One call, as in a record."""
    judged = outcome == "judged"
    return {
        **template["attempts"][0],
        "judge": judge,
        "provider": judge.split("-")[0],
        "model": template["models"][judge],
        "route": route,
        "outcome": outcome,
        "said": said,
        "scores": scores if judged else {},
        "started_ms": started,
        "took_ms": took,
        "input_tokens": 1605 if judged else None,
        "output_tokens": 58 if judged else None,
        "cost_micro_usd": COST[judge] if judged else 0,
        "detail": None if judged else "simulated: 529",
    }


def said_of(rejected, worst):
    if not rejected:
        return "pass"
    return "review" if worst == "contact_shadow" else "fail"


def record(template, chance, at_us, is_out, is_risky):
    """One verdict. A risky image only looks so to the pre-check."""
    image = Image(chance)
    usual = chance.choices(list(USUAL), USUAL.values())[0]
    attempts, started, judge = [], 9, usual
    if is_out and chance.random() < REFUSED:
        attempts.append(attempt(template, "openai-mini", "primary", "overloaded", 9, 75, None, {}))
        judge, started = "claude-haiku", 95
    elif usual != "openai-mini":
        attempts.append(attempt(template, "openai-mini", "primary", "overloaded", 9, 40, None, {}))
        started = 60
    median, sigma = LATENCY_MS[judge]
    took = int(min(4000, chance.lognormvariate(math.log(median), sigma)))
    rejected, scores = image.judged(judge)
    said = said_of(rejected, image.worst)
    route = "failover" if attempts else "primary"
    attempts.append(attempt(template, judge, route, "judged", started, took, said, scores))
    if chance.random() < PAIRED:
        other = chance.choice([one for one in REJECTS if one != judge])
        also, seen = image.judged(other)
        attempts.append(
            attempt(
                template,
                other,
                # most pairs are shadows; a probe's answer that came second is one too
                "probe" if at_us % 5 == 0 else "shadow",
                "judged",
                started,
                took + 80,
                said_of(also, image.worst),
                seen,
            )
        )
    reasons = {
        one: {
            "score": score,
            "pass_at": PASS_AT[one],
            "passed": score >= PASS_AT[one],
            "reason": f"simulated: {'nothing to fault' if score >= PASS_AT[one] else 'scored low, by its made-up quality'}",
        }
        for one, score in scores.items()
    }
    digest = f"b3:{chance.getrandbits(256):064x}"
    stamp = uuid.UUID(
        int=(at_us // 1000 << 80)
        | (7 << 76)
        | (chance.getrandbits(12) << 64)
        | (2 << 62)
        | chance.getrandbits(62)
    )
    moment = (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_us // 1_000_000))
        + f".{at_us % 1_000_000:06d}Z"
    )
    return {
        **template["record"],
        "id": str(stamp),
        "verdict": said,
        "basis": "judge",
        "route": route,
        "scores": reasons,
        "judge": {
            "name": judge,
            "provider": judge.split("-")[0],
            "model": template["models"][judge],
        },
        "failed": [image.worst] if rejected else [],
        "flags": [],
        "borderline": any(abs(s - PASS_AT[c]) < 0.08 for c, s in scores.items()),
        "attempts": attempts,
        "cost_micro_usd": sum(one["cost_micro_usd"] for one in attempts),
        "complete": True,
        "recorded": True,
        "timing_ms": {
            "total": float(started + took + 2),
            "read": 1.0,
            "decode": 4.0,
            "checks": 2.0,
            "prepare": 2.0,
            "judge": float(took),
            "record": None,
        },
        "image": {**template["record"]["image"], "digest": digest},
        "external_id": f"sku-{chance.randrange(10000, 99999)}",
        "seq": None,
        "at": moment,
        "first_verdict": said,
        "pre": round((0.9 if is_risky else 0) + chance.betavariate(2, 5) * (0.1 if is_risky else 1), 3),
    }


def row(form, at_us):
    return (
        form["id"],
        at_us,
        form["policy"]["name"],
        form["policy"]["revision"],
        form["verdict"],
        None,
        form["first_verdict"],
        form["basis"],
        form["judge"]["name"],
        form["judge"]["provider"],
        form["judge"]["model"],
        form["route"],
        None,
        form["external_id"],
        form["image"]["digest"],
        form["pre"],
        form["propensity"],
        form["judged_by"],
        0,
        form["timing_ms"]["total"],
        form["cost_micro_usd"],
        json.dumps(form),
    )


def moments(now_s, per_day, per_minute, seed):
    """When images came and what they are drawn from: as usual, then an hour at the rate that the page's
    charts are for. Each part is drawn by itself from its own beginning, so that what an hour holds
    does not depend on the time of day at which it is made.
    """
    hour = now_s - 3600
    first = now_s // 86400 * 86400 - BASELINE_DAYS * 86400
    parts = [(first, hour, per_day / 86400), (hour, now_s - 5, per_minute / 60)]
    for place, (begin, end, per_s) in enumerate(parts):
        chance = random.Random(seed + place)
        after = 0.0
        while after < end - begin:
            yield begin + after, chance
            after += chance.expovariate(per_s)


def main():
    read = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    read.add_argument("store")
    read.add_argument("template")
    read.add_argument("--day", type=float, default=3000, help="images a day as usual")
    read.add_argument("--minute", type=float, default=240, help="images a minute in the last hour")
    read.add_argument("--findings", type=int, default=8, help="findings a record")
    read.add_argument("--risky", type=float, default=0, help="minutes at the end of risky images")
    read.add_argument("--seed", type=int, default=20261121)
    asked = read.parse_args()
    with open(asked.template, encoding="utf-8") as file:
        first = json.load(file)
    models = {
        "openai-mini": "gpt-6-luna",
        "claude-haiku": "claude-haiku-5-5",
        "gemini-flash": "gemini-3.5-flash-lite",
        "mistral-vision": "mistral-small-latest",
    }
    template = {
        "record": {**first, "findings": first["findings"][: asked.findings]},
        "attempts": first["attempts"],
        "models": models,
    }
    # whole minutes, as the page's windows are
    now_s = time.time() // 60 * 60
    began, ended = (now_s - minutes * 60 for minutes in OUTAGE_MIN)
    store = sqlite3.connect(asked.store)
    columns = [
        name for (_, name, *_) in store.execute("PRAGMA table_info(record)") if name != "seq"
    ]
    insert = f"INSERT INTO record ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    count = {"n": 0, "out": 0, "rejected": 0}
    for at, chance in moments(now_s, asked.day, asked.minute, asked.seed):
        is_out = began <= at < ended
        at_us = int(at * 1e6)
        is_risky = now_s - asked.risky * 60 <= at
        form = record(template, chance, at_us, is_out, is_risky)
        seq = store.execute(insert, row(form, at_us)).lastrowid
        store.execute("INSERT INTO counted (seq) VALUES (?)", (seq,))
        if form["route"]:
            routed = (form["route"], at_us, seq)
            store.execute("INSERT INTO routed (route, at_us, seq) VALUES (?, ?, ?)", routed)
        store.executemany(
            "INSERT INTO failed (criterion, at_us, seq) VALUES (?, ?, ?)",
            [(one, at_us, seq) for one in form["failed"]],
        )
        count["n"] += 1
        count["out"] += is_out
        count["rejected"] += is_out and form["first_verdict"] != "pass"
        if count["n"] % COMMIT_EVERY == 0:
            store.commit()
    store.commit()
    moved = REFUSED * USUAL["openai-mini"] * (REJECTS["claude-haiku"] - REJECTS["openai-mini"])
    print(json.dumps({**count, "began": iso(began), "ended": iso(ended), "routing": moved}))


def iso(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


if __name__ == "__main__":
    main()
