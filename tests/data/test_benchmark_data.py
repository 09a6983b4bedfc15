"""scripts/benchmark_data.py, without peers and too short to mean anything."""

import importlib
import json
import sys

import pytest
from repository import SCRIPTS


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """A function that runs the script's `main` with these words and returns what it has written."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("benchmark_data")

    def run(*words):
        out = tmp_path / "out.json"
        monkeypatch.setattr(sys, "argv", ["benchmark_data.py", "--out", str(out), *words])
        module.main()
        return json.loads(out.read_text())

    return run


@pytest.mark.parametrize(
    "words, message",
    [
        (["--parts", "hots"], "--parts: unknown 'hots'; choices: host, device"),
        (["--parts", ""], "--parts: unknown ''; choices: host, device"),
        (["--sizes", "96"], "--sizes: '96' is no width x height, as in 500x375"),
        (["--sizes", "96x96,0x5"], "--sizes: '0x5' is no width x height, as in 500x375"),
        (["--peers", "tim"], "--peers: unknown 'tim'; choices: mindcv, timm"),
        (["--rounds", "0"], "--rounds: 0 is not above 0"),
        (["--batch-size", "1025"], "--batch-size: 1025 is more than the 1024 images"),
        (["--out", "/"], "--out: / is a folder; name a file in it"),
        (["--peers", "timm", "--timm-python", "/no/python"], "--timm-python: /no/python: No such file or directory"),
    ],
)
def test_wrong_options_are_refused_in_one_line(words, message, benchmark, tmp_path):
    with pytest.raises(SystemExit) as ended:
        benchmark(*words)
    assert ended.value.code == f"error: {message}" and not list(tmp_path.iterdir())


def test_a_missing_peer_is_noticed_before_anything_is_measured(benchmark, monkeypatch):
    module = sys.modules["benchmark_data"]
    monkeypatch.setitem(module.PACKAGES, "mindcv", ["numpy", "no_such_package"])
    monkeypatch.setattr(module, "compare", lambda options, kept: pytest.fail("measured"))
    with pytest.raises(SystemExit, match=r"error: mindcv: .* has no no_such_package; --mindcv-python names an inter"):
        benchmark("--peers", "mindcv")


def test_a_round_that_fails_leaves_those_before_it(benchmark, monkeypatch, tmp_path):
    module, calls = sys.modules["benchmark_data"], []

    def run(*given):
        calls.append(given)
        if len(calls) == 3:
            raise module.BenchmarkError("ours: exit code 1")
        return {**dict.fromkeys(module.MEASURES, 2.0), "versions": {"numpy": "1"}}

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "refusal", lambda options: "")
    monkeypatch.setattr(module, "write_photos", lambda *given: None)
    with pytest.raises(SystemExit, match=r"error: ours: exit code 1; .*/out.json holds what .*: 1 of 3 rounds"):
        benchmark("--sizes", "96x96", "--parts", "host")
    assert len(json.loads((tmp_path / "out.json").read_text())["rounds"]) == 2


@pytest.mark.slow
def test_a_run_without_peers(benchmark, capsys):
    words = "--sizes 96x96 --parts host --workers 1 --batch-size 16 --rounds 1 --seconds 0.2 --warm-up 0.1"
    found = benchmark(*words.split())
    assert set(found) == {"machine", "settings", "versions", "table", "rounds"}
    assert found["settings"] == {"workers": 1, "batch_size": 16, "seconds": 0.2, "rounds": 1}
    assert set(found["versions"]["ours"]) == {"mindspore", "cv2", "numpy", "PIL"}
    assert [(row["size"], row["augment"], row["part"]) for row in found["table"]] == [
        ("96x96", True, "host"),
        ("96x96", False, "host"),
    ]
    measures = {"images_per_s", "cpu_s_per_1000", "memory_mb_per_worker"}
    assert all(set(row["ours"]) == measures | {"ratio", "cpu_ratio"} for row in found["table"])
    assert all(row["ours"]["images_per_s"] > 0 and row["ours"]["ratio"] == 1 for row in found["table"])
    assert len(found["rounds"]) == 2 and all(set(each) == measures | {"case", "versions"} for each in found["rounds"])
    assert capsys.readouterr().out.count("| 96x96 |") == 2
