"""Published weights come from a local web server: once, whole, checked, whatever happens on the way."""

import hashlib
import logging
import subprocess
import sys

import numpy as np
import pytest
from repository import ROOT

from mindcv_hrnet.engine.load import weights_of
from mindcv_hrnet.errors import CheckpointError, UserError
from mindcv_hrnet.recipe.keys import ModelConfig
from mindcv_hrnet.runtime import download as downloads
from mindcv_hrnet.weights.pretrained import _parse, fetch

CONTENT = np.random.default_rng(0).bytes(200_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f"hrnet_w32-{DIGEST[:8]}.ckpt"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(folder))
    monkeypatch.setattr(downloads, "PAUSE_S", 0.0)
    return folder


@pytest.fixture
def server(cache):
    from file_server import FileServer

    running = FileServer(CONTENT, NAME)
    yield running
    running.close()


def refusal(url):
    with pytest.raises(CheckpointError) as error:
        fetch(url)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{url}: ")


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_fetched_once_and_kept(server, cache):
    path = fetch(server.url)
    assert path == cache / NAME and path.read_bytes() == CONTENT
    assert fetch(server.url) == path
    assert server.requests == [None]
    assert visible(cache) == [NAME]


def test_cut_connections_go_on_where_they_stopped(server):
    server.cut_after = [50_000, 30_000, 0, 100]
    assert fetch(server.url).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=50000-", "bytes=80000-", "bytes=80000-", "bytes=80100-"]


def test_a_later_run_goes_on_with_the_partial_file(server, cache):
    cache.mkdir()
    (cache / f"{NAME}.part").write_bytes(CONTENT[:120_000])
    assert fetch(server.url).read_bytes() == CONTENT
    assert server.requests == ["bytes=120000-"]
    assert visible(cache) == [NAME]


def test_a_partial_file_that_is_whole_already(server, cache):
    cache.mkdir()
    (cache / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch(server.url).read_bytes() == CONTENT
    assert server.requests == ["bytes=200000-"]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * 300_000])
def test_a_partial_file_of_something_else_is_thrown_away(server, cache, stale):
    cache.mkdir()
    (cache / f"{NAME}.part").write_bytes(stale)
    assert fetch(server.url).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_everything_again(server):
    server.ranges = False
    server.cut_after = [50_000]
    assert fetch(server.url).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=50000-"]


def test_a_server_that_is_busy_for_a_while(server):
    server.statuses = [503, 429, 500]
    assert fetch(server.url).read_bytes() == CONTENT
    assert len(server.requests) == 4


def test_a_server_that_stays_busy(server, cache):
    server.statuses = [503] * 9
    assert refusal(server.url) == (
        "cannot be fetched (the server answers 503 Service Unavailable); download it elsewhere and pass "
        "--ckpt_path FILE, or name a mirror with --pretrained_url"
    )
    assert len(server.requests) == 5 and visible(cache) == []


def test_a_connection_that_never_brings_anything(server, cache):
    server.cut_after = [40_000] + [0] * 9
    assert refusal(server.url).startswith("cannot be fetched (the connection was cut); download it elsewhere")
    assert (cache / f"{NAME}.part").read_bytes() == CONTENT[:40_000]


def test_404(server, cache):
    url = server.url.replace(NAME, "none-00000000.ckpt")
    assert refusal(url) == (
        "the server answers 404 Not Found; check the address, or pass --ckpt_path FILE, "
        "or name a mirror with --pretrained_url"
    )
    assert len(server.requests) == 1 and visible(cache) == []


def test_no_server(cache):
    assert refusal("http://127.0.0.1:9/w.ckpt").startswith(
        "cannot be fetched (Connection refused); download it elsewhere"
    )


def test_a_web_page_instead_of_the_file(server, cache):
    server.content_type = "text/html; charset=utf-8"
    assert refusal(server.url) == "the server sends a web page, not a file; check the address"
    assert visible(cache) == []


def test_wrong_hash(server, cache):
    server.content = CONTENT[:-1] + b"\0"
    found = hashlib.sha256(server.content).hexdigest()[:8]
    assert refusal(server.url) == (
        f"SHA-256 is {found}, expected {DIGEST[:8]}; the file is not the published one and was removed"
    )
    assert server.requests == [None, None] and visible(cache) == []


def test_a_device_after_the_hash_in_the_name():
    assert _parse("https://host/hrnet_w32-e616cdcb-910v2.ckpt")[1:] == ("hrnet_w32-e616cdcb-910v2.ckpt", "e616cdcb")


def test_a_cached_file_that_was_damaged_is_fetched_again(server, cache, caplog):
    path = fetch(server.url)
    path.write_bytes(CONTENT[:-1])
    with caplog.at_level(logging.WARNING):
        assert fetch(server.url).read_bytes() == CONTENT
    assert f"{path}: its checksum is not the one expected; fetching it again" in caplog.messages


def test_hash_in_the_address(server):
    server.name = "any.ckpt"
    assert fetch(f"{server.url}#sha256={DIGEST}").read_bytes() == CONTENT
    assert "SHA-256 is" in refusal(f"{server.url.replace('any', 'other-any')}#sha256={'0' * 64}")


def test_a_mistyped_hash_leaves_the_good_file_alone(server, cache):
    path = fetch(server.url)
    assert "SHA-256 is" in refusal(f"{server.url}#sha256={'0' * 64}")
    assert path.read_bytes() == CONTENT and fetch(server.url) == path


def test_without_a_hash_files_of_two_addresses_stay_apart(server, cache):
    server.name = "plain.ckpt"
    first = fetch(server.url)
    server.content = CONTENT[::-1]
    second = fetch(server.url.replace("/hrnet/", "/other/"))
    assert first != second and first.read_bytes() == CONTENT and second.read_bytes() == CONTENT[::-1]
    assert fetch(server.url) == first and len(server.requests) == 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/w.ckpt", "not the address of a file; it starts with http://, https:// or hf://"),
        ("http://host/", "not the address of a file; it starts with http://, https:// or hf://"),
        ("http://host/..%2fw.ckpt", "not the address of a file; it starts with http://, https:// or hf://"),
        ("http://host/w.ckpt#sha256=12", "what follows # must be sha256= and 8 to 64 hexadecimal digits"),
        ("hf://owner", "an address on the hub is hf://OWNER/NAME, hf://OWNER/NAME/FILE"),
    ],
)
def test_addresses_that_are_none(cache, url, message):
    assert refusal(url) == message


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("MINDCV_HRNET_CACHE", str(blocked / "cache"))
    with pytest.raises(UserError, match="Not a directory"):
        fetch(server.url)


def test_several_processes_fetch_once(server, cache):
    code = f"from mindcv_hrnet.weights.pretrained import fetch; print(fetch({server.url!r}))"
    jobs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    assert [job.communicate()[0].strip() for job in jobs] == [str(cache / NAME)] * 3
    assert server.requests == [None]


# --- what a recipe means -------------------------------------------------------------------------------------------


def test_recipe_names_the_published_file(server, cache, monkeypatch):
    assert weights_of(ModelConfig()) == ""
    assert weights_of(ModelConfig(ckpt_path="own.ckpt", pretrained=True)) == "own.ckpt"
    assert weights_of(ModelConfig(pretrained=True, pretrained_url=server.url)) == str(cache / NAME)
    monkeypatch.setattr("mindcv_hrnet.models.variants.PUBLISHED_AT", {"hrnet_w48": server.url})
    assert weights_of(ModelConfig(model="hrnet_w48", pretrained=True)) == str(cache / NAME)
    with pytest.raises(
        UserError, match=r"^pretrained: no weights of hrnet_w32 are published, only of hrnet_w48; name a file$"
    ):
        weights_of(ModelConfig(pretrained=True))


def test_create_model_takes_the_published_file(cache, tmp_path, monkeypatch):
    import mindspore as ms
    from file_server import FileServer
    from mindspore.nn.utils import no_init_parameters

    from mindcv_hrnet import create_model, list_models
    from mindcv_hrnet.models.variants import PUBLISHED, PUBLISHED_AT
    from mindcv_hrnet.weights import write_weights

    assert list(PUBLISHED_AT) == list(PUBLISHED) == list_models(pretrained=True) == ["hrnet_w32", "hrnet_w48"]
    with no_init_parameters():
        source = create_model("hrnet_w18_small", num_classes=4)
    source.conv1.weight.set_data(ms.Tensor(np.full(source.conv1.weight.shape, 0.5, np.float32)))
    write_weights({name: p.asnumpy() for name, p in source.parameters_dict().items()}, tmp_path / "w.ckpt")
    running = FileServer((tmp_path / "w.ckpt").read_bytes())
    monkeypatch.setattr("mindcv_hrnet.models.variants.PUBLISHED_AT", {"hrnet_w18_small": running.url})
    try:
        with no_init_parameters():
            network = create_model("hrnet_w18_small", num_classes=6, pretrained=True)
    finally:
        running.close()
    assert (network.conv1.weight.asnumpy() == 0.5).all()
    assert network.classifier.weight.shape == (6, 2048)
    monkeypatch.setattr("mindcv_hrnet.models.variants.PUBLISHED_AT", {"hrnet_w18_small": f"{running.url}.gone.ckpt"})
    with pytest.raises(CheckpointError) as error:  # nothing answers any more
        create_model("hrnet_w18_small", pretrained=True)
    assert str(error.value).endswith("download it elsewhere and pass checkpoint=FILE")
    with pytest.raises(UserError, match="both name weights to start from"):
        create_model("hrnet_w18_small", pretrained=True, checkpoint="x.ckpt")
