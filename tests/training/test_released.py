"""Files like the released ones: from a folder, from a server, and broken ones."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from goldens import ruled

from sop_core.__main__ import main
from sop_core.errors import SopError
from sop_core.model.resnet import FrameNet
from sop_core.model.synthesizer import Synthesizer
from sop_core.model.unet import SoundNet
from sop_core.training import released as weights
from sop_core.training.checkpoint import load_model


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    nets = {"sound": SoundNet(32, 5), "frame": FrameNet(32), "synthesizer": Synthesizer(32)}
    for part, net in nets.items():
        torch.save(ruled(net).state_dict(), folder / f"{part}_best.pth")
    return folder, nets


@pytest.fixture
def site(released):
    handler = partial(SimpleHTTPRequestHandler, directory=released[0])
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_files_of_a_server_become_a_checkpoint(released, site, tmp_path):
    model = load_model(weights.fetch(tmp_path / "sop", site))
    assert (model.config.profile, model.config.sound_depth, model.config.channels) == (
        "sop2018",
        5,
        32,
    )
    for part, net in released[1].items():
        for key, value in net.state_dict().items():
            assert torch.equal(getattr(model, part).state_dict()[key], value), key
    assert (tmp_path / "sop" / "released" / "sha256.json").is_file()


def test_a_folder_does_as_well_and_prefixes_of_data_parallel_are_dropped(released, tmp_path):
    for path in released[0].glob("*.pth"):
        state = torch.load(path, weights_only=True)
        torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / path.name)
    model = load_model(weights.fetch(tmp_path / "sop", str(tmp_path)))
    assert torch.equal(model.synthesizer.scale, released[1]["synthesizer"].scale)


def test_what_is_there_is_not_fetched_again_and_must_stay_the_same(released, site, tmp_path):
    weights.fetch(tmp_path / "sop", site)
    weights.fetch(tmp_path / "sop", "http://127.0.0.1:9/nothing/is/there")  # nor needed
    frame = tmp_path / "sop" / "released" / "frame_best.pth"
    frame.unlink()
    other = tmp_path / "other"
    other.mkdir()
    for path in released[0].glob("*.pth"):
        state = torch.load(path, weights_only=True)
        torch.save(
            {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}, other / path.name
        )
    with pytest.raises(SopError, match="not the file that was there the first time"):
        weights.fetch(tmp_path / "sop", str(other))


def test_a_page_in_place_of_the_files_is_not_kept(released, site, tmp_path):
    """A hotel's network answers with its login page. The next time, the files are fetched."""
    page = tmp_path / "page"
    page.mkdir()
    for path in released[0].glob("*.pth"):
        (page / path.name).write_text("<html>log in</html>")
    with pytest.raises(SopError, match="not weights"):
        weights.fetch(tmp_path / "sop", str(page))
    assert not list((tmp_path / "sop").rglob("*.pth")) and not list(
        (tmp_path / "sop").rglob("*.json")
    )
    assert load_model(weights.fetch(tmp_path / "sop", site)).config.profile == "sop2018"


def test_what_cannot_be_had_gets_one_clear_sentence(released, site, tmp_path, capsys):
    with pytest.raises(SopError, match=r"sound_best.pth: can't be had .*--url FOLDER"):
        weights.fetch(tmp_path / "a", f"{site}/nowhere")
    with pytest.raises(SopError, match="no such file; expected sound_best.pth"):
        weights.fetch(tmp_path / "b", str(tmp_path))
    assert not (tmp_path / "a" / "model.safetensors").exists()
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in released[0].glob("*.pth"):
        (bad / path.name).write_bytes(path.read_bytes())
    (bad / "synthesizer_best.pth").write_bytes(b"no weights")
    assert main(["weights", "--url", str(bad), "--out", str(tmp_path / "c")]) == 2
    assert "synthesizer_best.pth: not weights that can be read safely" in capsys.readouterr().err

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "evil"), "w"))

    torch.save(Evil(), bad / "synthesizer_best.pth")
    with pytest.raises(SopError, match="not weights that can be read safely"):
        weights.fetch(tmp_path / "d", str(bad))
    assert not (tmp_path / "evil").exists()
    torch.save({"scale": torch.ones(7)}, bad / "synthesizer_best.pth")
    with pytest.raises(SopError, match="not the released synthesizer net"):
        weights.fetch(tmp_path / "e", str(bad))


def test_the_verb(released, tmp_path, capsys):
    assert main(["weights", "--url", str(released[0]), "--out", str(tmp_path / "sop")]) == 0
    assert (
        "sop2018" in capsys.readouterr().out and load_model(tmp_path / "sop").config.warp == "grid"
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    assert main(["weights", "--url", str(released[0]), "--out", str(tmp_path / "run")]) == 2
    assert "holds another run" in capsys.readouterr().err


def test_what_is_refused_leaves_the_files_that_are_kept_as_they_were(released, tmp_path):
    weights.fetch(tmp_path / "sop", str(released[0]))
    before = {p.name: p.read_bytes() for p in (tmp_path / "sop" / "released").iterdir()}
    other = tmp_path / "other"
    other.mkdir()
    for path in released[0].glob("*.pth"):
        (other / path.name).write_bytes(b"something else")
    with pytest.raises(SopError, match="not the file that was there the first time"):
        weights.fetch(tmp_path / "sop", str(other))
    assert {p.name: p.read_bytes() for p in (tmp_path / "sop" / "released").iterdir()} == before
    note = tmp_path / "sop" / "released" / "sha256.json"
    for torn in (note.read_bytes()[:40], b"\xff\xfe", b"[]", b"{}"):
        note.write_bytes(torn)
        with pytest.raises(SopError, match=r"sha256\.json: not the checksums of .*; remove it"):
            weights.fetch(tmp_path / "sop", str(released[0]))
