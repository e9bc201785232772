"""Files of the public detector: what is refused, and the download from a stand-in of the hub."""

import json
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from random_release import (
    list_file,
    random_network,
    write_config,
    write_small_release,
    write_weights,
)
from rsna19_kedro.detector.networks import SequenceNetwork, load_weights
from rsna19_kedro.detector.release import (
    CHECKSUMS,
    CLASSIFIER,
    CONFIG,
    NAME,
    REPOSITORY,
    SEQUENCE,
    find_release,
    open_release,
)
from rsna19_kedro.errors import ModelError, ParameterError

REVISION = "098b7ffa63ab4023a3dde639a0c02688f9779231"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_small_release(tmp_path / "release")
    return tmp_path / "release"


def test_whole_release_is_named_by_its_weights(folder: Path) -> None:
    random = open_release(folder)
    assert random.version == "random"
    write_config(folder, weights="published")
    release = open_release(folder)
    assert release.version in release.title
    assert len(release.version) == 8
    assert set(release.tensors(SEQUENCE)) == {"linear.weight"}
    write_weights(folder, SEQUENCE, {"linear.weight": torch.ones(6, 512)})
    assert open_release(folder).version != release.version


def _truncate(folder: Path) -> None:
    content = (folder / CLASSIFIER).read_bytes()
    (folder / CLASSIFIER).write_bytes(content[:-100])


def _flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / CLASSIFIER).read_bytes())
    content[-1] ^= 1
    (folder / CLASSIFIER).write_bytes(content)


def _pickle_beside(folder: Path) -> None:
    (folder / CLASSIFIER).unlink()
    (folder / "classifier" / "model.pt").write_bytes(pickle.dumps({}))


def _unlist(folder: Path) -> None:
    records = json.loads((folder / CHECKSUMS).read_text())
    (folder / CHECKSUMS).write_text(json.dumps([r for r in records if r["path"] != SEQUENCE]))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_truncate, "the download is incomplete"),
        (_flip_a_bit, "does not have the SHA-256 of checksums.json"),
        (_pickle_beside, "classifier/model.safetensors missing. classifier/model.pt is not read"),
        (_unlist, "does not list sequence/model.safetensors"),
        (lambda folder: (folder / CHECKSUMS).write_text("{"), "checksums.json is not valid JSON"),
        (lambda folder: (folder / CHECKSUMS).write_text("[1]"), "is not a list of path"),
        (lambda folder: (folder / CHECKSUMS).unlink(), "checksums.json missing"),
        (lambda folder: (folder / CONFIG).write_text("[]"), "does not describe a model of type"),
        (lambda folder: write_config(folder, labels=["any"]), "lists other labels than epidural"),
    ],
)
def test_damaged_release_is_refused(folder: Path, damage, sentence: str) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=sentence):
        open_release(folder)


def test_pickle_under_the_name_of_the_weights_is_refused(folder: Path) -> None:
    (folder / SEQUENCE).write_bytes(pickle.dumps({"linear.weight": 1}))
    list_file(folder, SEQUENCE)
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        open_release(folder).tensors(SEQUENCE)


def _rename(tensors: dict[str, torch.Tensor]) -> None:
    tensors["slice_head.wight"] = tensors.pop("slice_head.weight")


def _reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["slice_head.weight"] = tensors["slice_head.weight"].T


def _spoil(tensors: dict[str, torch.Tensor]) -> None:
    tensors["slice_head.bias"] = torch.full((6,), torch.nan)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_rename, "slice_head.weight is missing; slice_head.wight is unknown"),
        (_reshape, "slice_head.weight has the shape 512 x 6 instead of 6 x 512"),
        (_spoil, "slice_head.bias holds values that are not finite"),
        (dict.clear, "and 3[0-9] more"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, sentence: str) -> None:
    tensors = dict(SequenceNetwork().state_dict())
    change(tensors)
    with pytest.raises(ModelError, match=sentence):
        load_weights(SequenceNetwork(), tensors, SEQUENCE)


def test_fitting_tensors_are_loaded() -> None:
    tensors = random_network(SequenceNetwork()).state_dict()
    network = SequenceNetwork().train()
    load_weights(network, tensors, SEQUENCE)
    assert not network.training
    assert all(torch.equal(value, tensors[name]) for name, value in network.state_dict().items())


class _Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that a download of single files uses."""

    def __init__(self, folder: Path, *args, **kwargs) -> None:
        self.folder = folder
        super().__init__(*args, **kwargs)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def log_message(self, *args) -> None: ...

    def _answer(self) -> bytes:
        name = self.path.removeprefix(f"/{REPOSITORY}/resolve/{REVISION}/")
        path = self.folder / name
        if not path.is_file():
            self.send_error(404)
            return b""
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{len(content)}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        return content


@pytest.fixture
def hub(folder: Path, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Hub, folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.file_download.ENDPOINT", address, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield server
    server.shutdown()
    server.server_close()


def test_release_is_downloaded_once_and_then_used_offline(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    release = find_release(NAME, REVISION, tmp_path / "downloads")
    assert release.folder == tmp_path / "downloads" / NAME / REVISION
    hub.shutdown()
    hub.server_close()
    assert find_release(NAME, REVISION, tmp_path / "downloads") == release


def test_unknown_revision_and_a_missing_hub_are_explained(
    hub: ThreadingHTTPServer, tmp_path: Path, monkeypatch
) -> None:
    with pytest.raises(ModelError, match=r"revision 1{40}, could not be downloaded"):
        find_release(NAME, "1" * 40, tmp_path)
    hub.shutdown()
    hub.server_close()
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # Between tries.
    with pytest.raises(ModelError, match="Without internet: download the repository on another"):
        find_release(NAME, REVISION, tmp_path)


@pytest.mark.parametrize(
    ("detector", "revision", "error", "sentence"),
    [
        (NAME, None, ParameterError, "needs detector_revision=COMMIT"),
        (NAME, "COMMIT", ParameterError, "COMMIT is not a commit: expected 40 hexadecimal digits"),
        ("ct-head-hemorhage", None, ParameterError, "Did you mean 'ct-head-hemorrhage'"),
        ("no/such/folder", None, ModelError, "no/such/folder does not exist"),
        (".", REVISION, ParameterError, "detector_revision is only used with"),
    ],
)
def test_mistakes_are_answered(detector, revision, error, sentence, tmp_path: Path) -> None:
    with pytest.raises(error, match=sentence):
        find_release(detector, revision, tmp_path)
