"""scripts/benchmark.py: what it refuses, what it reads off a process, and how rounds become a table."""

import importlib
import json
import sys
from argparse import Namespace
from importlib.metadata import version

import pytest
from repository import SCRIPTS


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("benchmark")


def test_a_peer_has_its_own_packages(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "ours")
    had = ["PYTHONPATH" in benchmark.environment_of(who, tmp_path) for who in ("ours", "mindcv", "timm")]
    assert had == [True, False, False]


def test_pytorch_chooses_its_own_kernels(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    environments = {who: benchmark.environment_of(who, tmp_path) for who in ("ours", "mindcv", "timm")}
    assert {who: "ONEDNN_MAX_CPU_ISA" in given for who, given in environments.items()} == {
        "ours": True,
        "mindcv": True,
        "timm": False,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--peers tim", "--peers: unknown 'tim'; choices: mindcv, timm"),
        ("--rounds 0", "--rounds: 0 is not above 0"),
        ("--images 15", "--images: 15 are not two batches of 8"),
        ("--images 16 --classes 17", "--classes: 17 are more than the 16 of --images; each needs one"),
        ("--peers timm --timm-python /no/python", "--timm-python: /no/python: No such file or directory"),
        ("--peers timm --timm-python /bin/true", "timm: /bin/true has no timm, torch, PIL; --timm-python names an in"),
        ("--peers timm --timm-python /", "--timm-python: /: Permission denied"),
        ("--out /no/folder/x.json", "--out: /no/folder: No such file or directory; choose a folder that can be writ"),
        ("--out /proc/x.json", "--out: /proc: No such file or directory; choose a folder that can be written"),
        ("--out /", "--out: / is a folder; name a file in it"),
        ("--batches x,0", "--batches: 'x,0' are no whole numbers above 0, joined by commas, as in 1,4,32"),
        ("--batches 4,-3", "--batches: '4,-3' are no whole numbers above 0, joined by commas, as in 1,4,32"),
        ("--model hrnet_w66", "--model: unknown model 'hrnet_w66': did you mean 'hrnet_w64'? Choices: hrnet_w18_small"),
        ("--model hrnet_w18 --peers mindcv", "--model: MindCV has no hrnet_w18; choices with this peer: hrnet_w32, hr"),
        ("--workers 9999 --peers mindcv", "--workers: 9999 are more than the "),
    ],
)
def test_wrong_options_are_refused_in_one_line(benchmark, monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words.split()])
    monkeypatch.setattr(benchmark, "compare", lambda options, kept: pytest.fail("measured"))
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code.startswith(f"error: {message}") and "\n" not in ended.value.code


def test_the_photographs_of_host_are_looked_for_at_the_start(benchmark, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--host"])
    with pytest.raises(SystemExit, match="error: the photographs are scikit-learn's, which is missing here; pip inst"):
        benchmark.main()


# What the worker of a peer prints, by an interpreter that has neither the peer nor anything else
FAKE_PEER = """#!{python}
import sys, time
if sys.argv[1] == "-c":
    print("lacks") if "lacks" in sys.argv[2] else exec(sys.argv[2])
elif "train" in sys.argv:
    for step in (1, 2, 3):
        while time.process_time() < 0.05 * step: pass
        print(f"step {{step}}/3", flush=True)
    open(sys.argv[sys.argv.index("--out") + 1] + "/all.pth", "wb").write(bytes(2_000_000))
    print("saved")
else:
    print('{{"1": 0.5}}')
"""


def test_a_round_with_a_peer(benchmark, monkeypatch, capsys, tmp_path):
    peer, out = tmp_path / "python", tmp_path / "out.json"
    peer.write_text(FAKE_PEER.format(python=sys.executable))
    peer.chmod(0o755)
    train_command = benchmark.train_command
    monkeypatch.setattr(benchmark, "train_command", lambda who, *given: train_command("timm", *given))
    monkeypatch.setattr(benchmark, "pythons_of", lambda options: dict.fromkeys(("ours", "timm"), str(peer)))
    words = f"--peers timm,timm --rounds 1 --images 16 --classes 2 --batches 1 --out {out}"
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words.split()])
    benchmark.main()
    assert "| training step, s |" in (printed := capsys.readouterr().out) and f"written: {out}" in printed
    found = json.loads(out.read_text())
    assert set(found["table"]) == {*benchmark.MEASURES, "forward_1_s", "forward_peak_mb"}
    assert found["table"]["forward_1_s"]["timm"] == {"median": 0.5, "ratio": 1.0}
    assert found["table"]["checkpoint_mb"]["timm"] == {"median": 2.0, "ratio": 1.0}
    assert [len(found["rounds"][who]) for who in ("ours", "timm")] == [1, 1]
    assert found["versions"]["ours"]["mindspore"] == version("mindspore")


# A training command of three steps: busy before the first, half a second for each of the others
TRAINING = """
import time
block = bytearray(200_000_000)
while time.process_time() < 0.4: pass
for step in (1, 2, 3):
    print(f"epoch 1/1  step {step}/3  loss 2.0", flush=True)
    if step == 2: print("epoch 1/1  step 2/3  saved the training state", flush=True)
    time.sleep(0.5)
print("epoch 1/1  train loss 2.0  saved x.ckpt", flush=True)
open(PATH, "wb").write(b"0" * 3_000_000)
"""


def test_a_training_command_is_read_by_its_lines(benchmark, monkeypatch, tmp_path):
    def command(who, out, data, options):
        return [sys.executable, "-c", TRAINING.replace("PATH", repr(str(out / "x.ckpt")))]

    monkeypatch.setattr(benchmark, "train_command", command)
    found = benchmark.measure_training("ours", tmp_path, tmp_path, Namespace())
    assert 0.35 <= found["start_cpu_s"] <= found["start_s"]
    # half a second each, less what a busy machine lets this process read late
    assert found["step_s"] >= 0.2 and found["step_cpu_s"] < 0.3
    assert found["save_s"] >= 0.2 and found["train_s"] >= found["start_s"] + 1
    assert found["checkpoint_mb"] == 3.0 and 200 < found["train_peak_mb"] < 400


def test_a_command_that_fails_tells_its_last_words(benchmark):
    with pytest.raises(benchmark.BenchmarkError, match="exit code 1") as raised:
        benchmark.run([sys.executable, "-c", "raise SystemExit('no such model')"], {})
    assert raised.value.said == "no such model"


def test_a_command_without_steps_is_an_error(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "train_command", lambda *given: [sys.executable, "-c", "print('step 1/1')"])
    with pytest.raises(benchmark.BenchmarkError, match="timm: the training command told of no two steps and a save"):
        benchmark.measure_training("timm", tmp_path, tmp_path, Namespace())


@pytest.mark.parametrize(
    "problem, said", [("round_3", "timm: exit code 1"), ("host", "--host: "), ("^C", "interrupted")]
)
def test_what_was_measured_before_a_failure_is_kept(benchmark, monkeypatch, capsys, tmp_path, problem, said):
    rounds = []

    def measure(who, data, options):
        rounds.append(who)
        if problem != "host" and rounds.count("timm") == 3:
            raise (
                KeyboardInterrupt
                if problem == "^C"
                else benchmark.BenchmarkError("timm: exit code 1", "out of\nmemory")
            )
        return {"step_s": float(len(rounds))}

    monkeypatch.setattr(benchmark, "versions_of", lambda python: {})
    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setattr(benchmark, "refusal", lambda options: "")
    monkeypatch.setattr(benchmark.subprocess, "run", lambda command: Namespace(returncode=1))
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", f"benchmark.py --peers timm --images 16 --host --out {out}".split())
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    whole = 3 if problem == "host" else 2
    assert ended.value.code.startswith(f"error: {said}") and "\n" not in ended.value.code
    assert ended.value.code.endswith(f"; {out} holds what was measured before: {whole} of 3 rounds")
    assert ("out of\nmemory" in capsys.readouterr().err) == (problem == "round_3")
    written = json.loads(out.read_text())
    assert [len(written["rounds"][who]) for who in ("ours", "timm")] == [whole, whole]
    assert written["table"]["step_s"]["timm"]["median"] == (4.0 if whole == 3 else 3.0)
    assert list(tmp_path.iterdir()) == [out]


def test_rounds_become_medians_and_ratios(benchmark, monkeypatch, capsys, tmp_path):
    steps = {"ours": [4.0, 10.0, 6.0], "timm": [2.0, 8.0, 2.0]}

    def measure(who, data, options):
        return {"step_s": steps[who].pop(0), "forward_4_s": 1.0, "train_peak_mb": 1000.0, "forward_peak_mb": 500.0}

    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setattr(benchmark, "missing_from", lambda pythons, packages: "")
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--peers", "timm", "--images", "16", "--out", str(out)])
    benchmark.main()
    assert capsys.readouterr().out.splitlines()[:7] == [
        "| | ours | timm | ours / timm |",
        "|---|--:|--:|--:|",
        "| training step, s | 6.00 | 2.00 | 2.00 |",
        "| evaluation forward, batch 4, s | 1.00 | 1.00 | 1.00 |",
        "| peak memory of training, MB | 1000 | 1000 | 1.00 |",
        "| peak memory of the forward, MB | 500 | 500 | 1.00 |",
        "",
    ]
    written = json.loads(out.read_text())
    assert written["table"]["step_s"]["timm"] == {"median": 2.0, "ratio": 2.0}
    assert written["settings"]["rounds"] == 3 and len(written["rounds"]["ours"]) == 3
    assert {"processor", "cores", "memory_gb", "python", "load_before"} == set(written["machine"])
