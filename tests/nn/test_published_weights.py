"""`--init imagenet` of timm's encoders: from the cache, else from the hub, compared with the hub's checksum.

The hub is a local server that answers as the Hugging Face hub does.
"""

import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save

from handtool.errors import HandtoolError
from handtool.nn.files.weights import check_start, init_encoder
from handtool.nn.models.encoder import make_encoder

timm = pytest.importorskip("timm")
NAME = "test_vit.r160_in1k-model.safetensors"
FETCH = """
from handtool.errors import HandtoolError
from handtool.nn.files.published_weights import fetch_published
try:
    print(fetch_published("timm:test_vit"))
except HandtoolError as error:
    print(type(error).__name__, error, "|", error.hint)
"""


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(9)
    return save(timm.create_model("test_vit").state_dict())


@pytest.fixture
def hub(weights):
    """A hub: `content` is what it gives, whatever checksum it states; `asked`, its requests."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            server.asked.append(self.path)
            self.send_response(200)
            digest = hashlib.sha256(weights).hexdigest()
            for name, value in (("ETag", f'"{digest}"'), ("X-Linked-ETag", f'"{digest}"'), ("X-Repo-Commit", "a" * 40)):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(weights)))
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(server.content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.content, server.asked = weights, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(cache, port):
    env = os.environ | {"HANDTOOL_CACHE": str(cache), "HF_HOME": str(cache / "hf"), "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", FETCH], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_weights_come_from_the_hub_once_and_are_compared_with_its_checksum(hub, weights, tmp_path):
    assert fetch(tmp_path, hub.server_port) == str(tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == weights and any("timm/test_vit" in path for path in hub.asked)
    assert not list(tmp_path.glob("*.partial"))
    hub.asked.clear()
    assert fetch(tmp_path, hub.server_port) == str(tmp_path / NAME)
    assert hub.asked == []


def test_a_download_that_arrives_damaged_is_not_kept(hub, weights, tmp_path):
    hub.content = weights[:-1] + bytes([weights[-1] ^ 1])
    assert fetch(tmp_path, hub.server_port).startswith("DamagedFile")
    assert not (tmp_path / NAME).exists() and not list(tmp_path.glob("*.partial"))


def test_without_a_network_the_line_says_which_file_goes_where(tmp_path):
    said = fetch(tmp_path, 9)  # nobody listens there
    assert said.startswith(f"HandtoolError --init imagenet needs {NAME}, which is not at {tmp_path}")
    assert str(tmp_path / NAME) in said and "--init scratch" in said and "\n" not in said


def test_weights_in_the_cache_fill_the_encoder_at_any_size(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDTOOL_CACHE", str(tmp_path))
    (tmp_path / NAME).write_bytes(weights)
    check_start("timm:test_vit", 64, "imagenet")
    encoder = make_encoder("timm:test_vit", 64)
    assert init_encoder(encoder, "imagenet")["missing"] == []
    own = {"file": str(tmp_path / NAME), "hf_hub_id": None}
    theirs = timm.create_model("test_vit", num_classes=0, img_size=64, pretrained=True, pretrained_cfg_overlay=own)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(encoder.backbone.state_dict()[name], value, msg=name)


def test_what_is_published_nowhere_is_said(monkeypatch):
    config = timm.models.get_pretrained_cfg("test_vit")
    config.hf_hub_id = None
    monkeypatch.setattr(timm.models, "get_pretrained_cfg", lambda name, **_: config)
    with pytest.raises(HandtoolError, match="timm publishes no weights for test_vit"):
        check_start("timm:test_vit", 64, "imagenet")
