"""What lies on storage: fetched when it is needed and has changed; what is wrong or away is told or waited for."""

import json
import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import contents
from s3fs import S3FileSystem
from test_remote import in_bucket, write_shared_config

from defectfill.config.run import load_config
from defectfill.io.errors import ConfigError, DataError, StorageError
from defectfill.io.s3 import Remote
from defectfill.operations.check import check_config, check_run
from defectfill.operations.lock import locked
from defectfill.operations.prepare import prepare_run, start_run
from defectfill.operations.storage import fetch
from defectfill.operations.storage.layout import DATA_FOLDERS


@pytest.fixture
def config_path(bucket: Remote, tmp_path: Path, base_folder: Path, toy_data: Path) -> Path:
    """Return the toy config with its data and its output on storage."""
    return write_shared_config(tmp_path, bucket, base_folder, toy_data)


def test_a_run_lists_its_images_on_storage_once_before_it_begins(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.steps import ingest

    listed: list[str] = []
    files = Remote.files

    def listing(self: Remote) -> dict[str, str]:
        listed.append(self.url)
        return files(self)

    monkeypatch.setattr(Remote, "files", listing)
    config = load_config(config_path)
    prepared = prepare_run(config)
    records = check_run(config, prepared).records
    with locked(config):
        run = start_run(config, prepared, records)
    with locked(config):
        ingest.fn(run.record)
    images = [url for url in listed if url.startswith(f"{config.data.root}/washer/")]
    assert len(images) == len(set(images)) == len(DATA_FOLDERS)
    assert Remote(run.uri).files().keys() == {"run.json", "snapshot.parquet"}


def test_images_that_change_on_storage_are_fetched_and_those_that_go_go(bucket: Remote, config_path: Path) -> None:
    config = load_config(config_path)
    key = prepare_run(config).record.key
    images = bucket / "images/washer"
    local = config.category_folder / "test/good"
    before = contents(local)
    assert len(before) == 2
    first, second = sorted(before)
    images.write(f"test/good/{first}", before[second])
    images.remove([f"test/good/{second}"])
    (config.category_folder / "train/good/000.png").unlink()
    (config.category_folder / "train/good/001.png").write_bytes(b"never fetched to its end")
    known = config.category_folder / fetch.ETAGS_FILE
    etags = json.loads(known.read_bytes())
    del etags["train/good/001.png"]
    known.write_text(json.dumps(etags))
    assert prepare_run(config).record.key != key
    assert contents(local) == {first: before[second]}
    assert contents(config.category_folder / "train") == in_bucket(images / "train")


def test_what_is_wrong_is_told_by_its_kind(
    bucket: Remote, config_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(config_path)
    (bucket / "images/washer/train/good").write("../../../../escaped.png", b"")
    with pytest.raises(DataError, match=r"escaped\.png: expected a path below its folder"):
        prepare_run(config)
    nothing = config.model_copy(update={"data": config.data.model_copy(update={"root": f"{bucket.url}/no"})})
    with pytest.raises(DataError) as refused:
        check_config(nothing)
    assert refused.value.problems == (f"{bucket.url}/no/washer: expected the category's images, found none",)
    with pytest.raises(DataError, match="expected a finished dataset, found none"):
        fetch.fetch_dataset(f"{bucket.url}/made/here/washer/runs/0/dataset")
    with pytest.raises(ConfigError, match="s3://there-is-none/a: expected to be there"):
        Remote("s3://there-is-none/a").files()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match="Could not connect"):
        Remote(bucket.url).files()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(ConfigError, match="no access; are the AWS_ variables"):
        Remote(bucket.url).files()


def test_storage_that_is_away_for_seconds_is_waited_for(
    bucket: Remote, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))  # nobody listens yet: connections are refused
        host, port = door.getsockname()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")  # pauses are random: of five, one in a hundred sums to under 2 s
        S3FileSystem.clear_instance_cache()

        def open_later() -> None:
            time.sleep(1)
            door.listen()
            connection, _ = door.accept()
            with connection, socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as server:
                back = threading.Thread(target=lambda: copy(server, connection), daemon=True)
                back.start()
                copy(connection, server)

        threading.Thread(target=open_later, daemon=True).start()
        begun = time.monotonic()
        bucket.write("late.txt", b"late")
        assert time.monotonic() - begun > 1
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    S3FileSystem.clear_instance_cache()
    assert Remote(bucket.url).read("late.txt") == b"late"


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)


@pytest.mark.parametrize("url", ["s3://", "s3://B", "s3://ab", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/x*y"])
def test_urls_that_are_none_are_refused(config_path: Path, url: str) -> None:
    text = config_path.read_text()
    root = load_config(config_path).data.root
    config_path.write_text(text.replace(root, url))
    with pytest.raises(ConfigError, match=r"data\.root: .*expected s3://bucket|data\.root: .*below its folder"):
        load_config(config_path)
    with pytest.raises(DataError, match=re.escape(url)):
        fetch.fetch_dataset(url)
