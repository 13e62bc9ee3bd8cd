"""Scrapes a real gate with a real Prometheus, and asks it everything that the dashboard and the rules ask.

The gate stands before simulated providers; its store holds a made-up past (`tests/page/seed.py`), so that it has
a baseline. Images are checked for half a minute or so, while the first judge refuses calls and then is slow, so that
failovers, hedges and breakers have something to show. Then every expression must have data, but those named in
`MAY_BE_EMPTY`.
"""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("VLMGATE_BIN_DIR", ROOT / "target/debug"))

# what has no value in this run, and why
MAY_BE_EMPTY = {
    "vlmgate_drill_last_success_timestamp_seconds": "absent until a drill passed, and none is run",
    "vlmgate_queue_seconds_bucket": "a percentile of nothing: nobody need stand in line in this run",
}
CALLERS = 6
# least and most that each stretch lasts: as long as a busy machine takes to have what it is for
LEAST_S, MOST_S = 8, 60
WINDOW = "20s"

faults = []


def fault(text):
    print(f"  FAULT {text}", file=sys.stderr)
    faults.append(text)


def say(text):
    print(f"ops: {text}", file=sys.stderr)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def fetch(url, body=None, method=None, kind="application/json"):
    request = urllib.request.Request(url, data=body, method=method, headers={"content-type": kind})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def until(what, look, seconds=60.0):
    end = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except (OSError, ValueError, KeyError):
            found = None
        if found:
            return found
        if time.monotonic() > end:
            raise SystemExit(f"ops: waited in vain for {what}")
        time.sleep(0.1)


class World:
    """Providers, gate and Prometheus, each a process of its own, in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []
        names = ["openai", "anthropic", "gemini", "mistral"]
        ports = {name: free_port() for name in [*names, "admin", "gate", "prometheus"]}
        self.admin, self.gate_url, self.prometheus = (
            f"http://127.0.0.1:{ports[name]}" for name in ("admin", "gate", "prometheus")
        )
        self.config = folder / "simulated.yaml"
        at = [part for name in names for part in (f"--{name}", str(ports[name]))]
        asked = [*at, "--admin", str(ports["admin"]), "--latency-ms", "60", "--config"]
        self.start("loadtest", [BIN / "loadtest", "providers", *asked, self.config])
        until("the simulated providers", lambda: "judges:" in self.config.read_text())
        shutil.copytree(ROOT / "policies", folder / "policies")
        # a build for debugging measures an image for a second: here nobody asks what the checks find
        policy = folder / "policies/product-photo.yaml"
        few = "checks:\n  - { id: big-enough, type: size, min_width: 256 }\n\n# What a judge is"
        text = re.sub(r"(?s)\nchecks:\n.*?# What a judge is", f"\n{few}", policy.read_text())
        shadow = "shadow: [{ id: standby, judge: claude-haiku, sample: 20%, per_day: 5 USD }]"
        policy.write_text(text.replace("\nrecord:", f"\n{shadow}\nrecord:", 1))
        self.data = folder / "data"
        listen = f"127.0.0.1:{ports['gate']}"
        self.serve = [BIN / "vlmgate", "serve", "--config", self.config, "--listen", listen]
        self.serve += ["--policies", folder / "policies", "--data", self.data, "--log", "warn"]
        self.gate = None
        self.listen = {"gate": listen, "prometheus": f"127.0.0.1:{ports['prometheus']}"}

    def start(self, name, command):
        log = open(self.folder / f"{name}.log", "a", encoding="utf-8")
        child = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=ROOT)
        self.running.append((name, child))
        return child

    def start_gate(self):
        self.gate = self.start("gate", self.serve)
        until("the gate", lambda: fetch(f"{self.gate_url}/readyz"))

    def stop_gate(self):
        self.gate.send_signal(signal.SIGTERM)
        if self.gate.wait(timeout=60) != 0:
            fault(f"the gate ended with {self.gate.returncode}")
        self.running = [one for one in self.running if one[1] is not self.gate]

    def check(self, image):
        path = "/v1/verdicts?policy=product-photo&vars.category=home&vars.background=white"
        return json.loads(fetch(self.gate_url + path, image, kind="image/jpeg"))

    def behave(self, provider, **behaviour):
        path = f"{self.admin}/providers/{provider}/behaviour"
        fetch(path, json.dumps(behaviour).encode(), "PUT")

    def seed(self, image):
        """Puts a made-up past into a store in which nothing was counted."""
        self.start_gate()
        verdict = self.check(image)["id"]
        template = self.folder / "template.json"
        template.write_text(fetch(f"{self.gate_url}/v1/verdicts/{verdict}"))
        self.stop_gate()
        shutil.rmtree(self.data)
        self.start_gate()
        self.stop_gate()
        few = ["--day", "330", "--minute", "12"]
        store = self.data / "vlmgate.db"
        seeded = subprocess.run(
            [sys.executable, ROOT / "tests/page/seed.py", store, template, *few],
            check=True,
            capture_output=True,
            text=True,
        )
        said = json.loads(seeded.stdout)
        self.start_gate()
        stats = f"{self.gate_url}/v1/stats?since=30d"
        is_counted = lambda: json.loads(fetch(stats))["total"]["n"] >= said["n"]
        until(f"{said['n']} records to be counted", is_counted, 120)

    def start_prometheus(self):
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "ops/alerts.yaml")],
            "scrape_configs": [
                {"job_name": "vlmgate", "static_configs": [{"targets": [self.listen["gate"]]}]}
            ],
        }
        # JSON is YAML
        path = self.folder / "prometheus.yaml"
        path.write_text(json.dumps(config))
        self.start(
            "prometheus",
            [
                "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={self.folder / 'tsdb'}",
                f"--web.listen-address={self.listen['prometheus']}",
                "--log.level=warn",
            ],
        )
        until("Prometheus", lambda: fetch(f"{self.prometheus}/-/ready"))

    def ask(self, path, **query):
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        try:
            answer = json.loads(fetch(url))
        except urllib.error.HTTPError as why:
            return None, json.loads(why.read().decode()).get("error", str(why))
        return answer["data"], None

    def driven(self, what, metric):
        """Goes on until something was counted since the start."""
        begun = time.monotonic()

        def counted():
            found, _ = self.ask("query", query=f"sum({metric})")
            return found["result"] and float(found["result"][0]["value"][1]) > 0

        until(what, counted, MOST_S)
        time.sleep(max(0.0, LEAST_S - (time.monotonic() - begun)))

    def stop(self):
        for _, child in reversed(self.running):
            child.terminate()
        for name, child in self.running:
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                fault(f"{name} did not end when told to")


def break_providers(world):
    """The first judge is well, refuses calls, and is slow; then all is well again."""
    usual = {"latency": {"constant_ms": 60}}
    world.driven("verdicts", "vlmgate_verdicts_total")
    world.behave("openai", fault={"status": {"code": 529, "after_ms": 400}}, **usual)
    world.driven("failovers", "vlmgate_failovers_total")
    world.driven("a breaker that opens", 'vlmgate_breaker_transitions_total{to="open"}')
    # both that come first are slow now and then, so that somebody is asked beside them
    for name in ("openai", "anthropic"):
        world.behave(name, fault="blackhole", share=0.3, **usual)
    world.driven("hedges", "vlmgate_hedges_total")
    for name in ("openai", "anthropic"):
        world.behave(name, **usual)
    time.sleep(2)


def drive(world, image):
    """Checks images while the first judge is well, refuses calls, and is slow."""
    stop, told, counts = threading.Event(), [], {"answered": 0, "shed": 0}

    def call():
        while not stop.is_set():
            try:
                world.check(image)
                counts["answered"] += 1
            except urllib.error.HTTPError as why:
                counts["shed"] += 1
                # refused early is an answer too
                if why.code != 503:
                    told.append(str(why))
            except OSError as why:
                told.append(str(why))
            time.sleep(0.02)

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        break_providers(world)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    say(f"{counts['answered']} checks answered, {counts['shed']} shed")
    for why in sorted(set(told)):
        fault(f"a check was not answered: {why}")


def plain(expression):
    """As Grafana asks it, with everything chosen."""
    for name in ("$policy", "$judge"):
        expression = expression.replace(name, ".+")
    return expression.replace("$__rate_interval", WINDOW).replace("$__interval", WINDOW)


def has_data(world, expression, since):
    """Whether any moment since then has a number."""
    found, why = world.ask("query_range", query=expression, start=since, end=time.time(), step=1)
    if why:
        fault(f"{why}: {expression}")
        return True
    if any(name in expression for name in MAY_BE_EMPTY):
        return True
    numbers = (float(value) for one in found["result"] for _, value in one["values"])
    return any(math.isfinite(number) for number in numbers)


def selectors(expression):
    """What it reads: every name with its labels."""
    return sorted(set(re.findall(r"vlmgate[_:][\w:]+(?:\{[^}]*\})?", expression)))


def look_at_dashboard(world, since):
    board = json.loads((ROOT / "ops/grafana/vlmgate.json").read_text())
    asked = 0
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            asked += 1
            if not has_data(world, plain(target["expr"]), since):
                fault(f"panel \"{panel['title']}\" has no data: {target['expr']}")
    for note in board["annotations"]["list"]:
        for selector in selectors(note.get("expr", "")):
            if not has_data(world, plain(selector), since):
                fault(f"annotation \"{note['name']}\" reads nothing: {selector}")
        if "expr" in note:
            has_data(world, plain(note["expr"]), since)
    for variable in board["templating"]["list"]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
        values, _ = world.ask(f"label/{label}/values", **{"match[]": metric})
        if not values:
            fault(f"variable {variable['name']} has no values")
    say(f"{asked} questions of {len(board['panels'])} panels")


def look_at_rules(world, since):
    groups, _ = world.ask("rules")
    rules = [rule for group in groups["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok":
            fault(f"{rule['name']} is {rule['health']}: {rule.get('lastError')}")
        if rule["type"] == "recording":
            if not has_data(world, rule["name"], since):
                fault(f"{rule['name']} records nothing")
            continue
        # an alert that is silent has no data; what it looks at must
        for selector in selectors(rule["query"]):
            if not has_data(world, selector, since):
                fault(f"{rule['name']} reads nothing: {selector}")
        for alert in rule["alerts"]:
            said = json.dumps(alert["annotations"])
            say(f"{alert['state']}: {alert['annotations']['summary']}")
            if "error expanding" in said:
                fault(f"{rule['name']} cannot say what it means: {said}")
    say(f"{len(rules)} rules")


def look_at_counts(world):
    """What was driven must have happened, or the panels were tried on nothing."""
    for what in (
        "sum(vlmgate_failovers_total)",
        "sum(vlmgate_hedges_total)",
        'sum(vlmgate_breaker_transitions_total{to="open"})',
        # of the made-up past: the others' configurations are not those of then, so once a thousand
        # were served a baseline is learnt anew
        'sum(max_over_time(vlmgate_drift_baseline_reject_ratio{judge="openai-mini"}[10m]))',
        'sum(vlmgate_reject_ratio{judge="openai-mini"})',
        "sum(vlmgate_cost_usd_total)",
    ):
        found, why = world.ask("query", query=what)
        number = float(found["result"][0]["value"][1]) if found and found["result"] else math.nan
        say(f"{what} = {number:.4g}")
        if why or not number > 0:
            fault(f"{what} is {number}: {why or 'nothing of it happened'}")


def look_at_rates(world):
    """The gauge says what the gate's page says of the last hour."""

    def differ():
        stats = json.loads(fetch(f"{world.gate_url}/v1/stats?policy=product-photo&since=1h"))
        said = {one["judge"]: one["reject"] for one in stats["judges"]}
        expected = {judge: one["share"] for judge, one in said.items() if one["n"] >= 30}
        found, _ = world.ask("query", query="vlmgate_reject_ratio >= 0")
        shown = {one["metric"]["judge"]: float(one["value"][1]) for one in found["result"]}
        same = shown.keys() == expected.keys()
        return same and all(abs(shown[judge] - expected[judge]) < 1e-9 for judge in shown) and shown

    # it is read every ten seconds
    same = until("the gauge to say what the page says", differ, 40)
    say(f"reject rates of {len(same)} judges as on the page")


def look_at_scrapes(world):
    targets, _ = world.ask("targets")
    for target in targets["activeTargets"]:
        if target["health"] != "up" or target["lastError"]:
            fault(f"scraping fails: {target['lastError']}")
    for what in ("min_over_time(up[1m])", "-max_over_time(scrape_duration_seconds[1m])"):
        found, _ = world.ask("query", query=what)
        say(f"{what} = {float(found['result'][0]['value'][1]):.3f}")
    samples, _ = world.ask("query", query="scrape_samples_scraped")
    say(f"{samples['result'][0]['value'][1]} series of one policy and four judges")
    text = fetch(f"{world.gate_url}/metrics")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    if checked.returncode != 0:
        fault(f"promtool check metrics:\n{checked.stdout}{checked.stderr}")


def main():
    image = (ROOT / "tests/fixtures/mug.jpg").read_bytes()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vlmgate-ops-"))
    world = World(folder)
    try:
        world.seed(image)
        world.start_prometheus()
        since = time.time()
        say("driving")
        drive(world, image)
        look_at_scrapes(world)
        look_at_counts(world)
        look_at_rates(world)
        look_at_dashboard(world, since)
        look_at_rules(world, since)
    finally:
        world.stop()
        for name in ("gate", "prometheus", "loadtest") if faults else ():
            log = folder / f"{name}.log"
            tail = log.read_text().splitlines()[-15:] if log.exists() else []
            print(f"-- {name}:", *tail, sep="\n", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
    if faults:
        raise SystemExit(f"ops: {len(faults)} faults")
    say("every panel and every rule has data")


if __name__ == "__main__":
    main()
