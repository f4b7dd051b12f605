"""Which etcd is spoken to, and how: its release, its certificate, its address."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

from broker.errors import ConfigError, CoordinatorRefused
from broker.server.coordinator import Coordinator
from broker.server.etcd_client import EtcdClient
from broker.server.etcd_coordinator import EtcdCoordinator
from broker.server.etcd_endpoint import EtcdAccess, EtcdEndpoint, Unreachable, check_release
from tests.coordinator.watcher import Watcher, record
from tests.support.broker_process import ROOT
from tests.support.etcd_process import EtcdMissing, EtcdProcesses, TlsFiles


class VersionOnly(BaseHTTPRequestHandler):
    """Answers ``/version`` as an etcd of some release does, and nothing else."""

    def __init__(self, release: str, *args: object) -> None:
        self.release = release
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        body = json.dumps({"etcdserver": self.release, "etcdcluster": "3.5.0"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def serve_release() -> Iterator[Callable[[str], str]]:
    """Gives the address of a server that says it is etcd of that release."""
    servers: list[HTTPServer] = []
    threads: list[Thread] = []

    def serve(release: str) -> str:
        server = HTTPServer(("127.0.0.1", 0), partial(VersionOnly, release))
        servers.append(server)
        threads.append(Thread(target=server.serve_forever))
        threads[-1].start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("release", ["3.5.0", "3.5.1", "3.5.2", "3.3.27", "2.3.8", "many"])
def test_a_release_that_can_lose_data_ends_the_broker(
    release: str, serve_release: Callable[[str], str]
) -> None:
    access = EtcdAccess((serve_release(release),))

    def open_coordinator(wake: Callable[[], None]) -> Coordinator:
        return EtcdCoordinator(access, wake, cluster="c", broker_id="b1", record=record())

    with Watcher(open_coordinator) as seen:
        failure = seen.wait_failure()
    assert isinstance(failure, CoordinatorRefused)
    assert release in failure.text


@pytest.mark.parametrize("release", ["3.4.22", "3.4.23", "3.5.3", "3.6.0-rc.1", "4.0.0"])
def test_a_release_that_keeps_data_is_taken_without_a_word(
    release: str, caplog: pytest.LogCaptureFixture
) -> None:
    check_release(release, "http://127.0.0.1:2379")
    assert caplog.messages == []


def test_an_old_release_is_taken_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_release("3.4.21", "http://127.0.0.1:2379")
    assert [entry.levelno for entry in caplog.records] == [logging.WARNING]


def test_etcd_is_spoken_to_over_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    tls = write_tls(tmp_path / "right")
    with EtcdProcesses(tmp_path, tls=tls) as etcd:
        client = EtcdClient(EtcdAccess(etcd.endpoints, ca=tls.ca, cert=tls.cert, key=tls.key))
        assert client.put_if("/a", b"b", 0).is_done
        events = next(iter(client.watch("/", 1, silence_ms=60_000)))
        assert [event.key for event in events] == ["/a"]
        client.close()
        other = write_tls(tmp_path / "other")
        for stranger in (
            EtcdAccess(etcd.endpoints, ca=other.ca, cert=tls.cert, key=tls.key),
            EtcdAccess(etcd.endpoints, ca=tls.ca, cert=other.cert, key=other.key),
            EtcdAccess(etcd.endpoints, ca=tls.ca),
        ):
            client = EtcdClient(stranger)
            with pytest.raises(Unreachable):
                client.get("/a")
            client.close()


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:2379", "ftp://a:1", "http://", "http://a:99999", "http://a:1/v3", "http://a:0"],
)
def test_an_address_that_is_none_is_a_mistake_of_the_settings(url: str) -> None:
    with pytest.raises(ConfigError, match="etcd"):
        EtcdEndpoint(url, EtcdAccess((url,)))


def test_access_without_an_endpoint_or_with_half_a_certificate_is_refused(tmp_path: Path) -> None:
    present = tmp_path / "cert"
    present.touch()
    with pytest.raises(ConfigError, match="no endpoint"):
        EtcdAccess(())
    with pytest.raises(ConfigError, match="belong together"):
        EtcdAccess(("http://a",), cert=str(present))
    with pytest.raises(ConfigError, match="no file"):
        EtcdAccess(("https://a",), ca=str(tmp_path / "absent"))


def test_a_single_broker_needs_nothing_of_etcd() -> None:
    ask = "import sys, broker.server.local_coordinator; print('requests' in sys.modules)"
    assert run_python(ask) == "False"


def test_what_is_missing_for_a_cluster_is_named() -> None:
    ask = (
        "import sys; sys.modules['etcd3gw'] = None\n"
        "try: import broker.server.etcd_coordinator\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert run_python(ask).startswith("ConfigError a cluster needs etcd3gw")


def test_without_the_program_these_tests_fail_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EtcdMissing, match="apt-get install etcd-server"), EtcdProcesses(tmp_path):
        pass


def run_python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def write_tls(directory: Path) -> TlsFiles:
    """A new authority, and a certificate of it that serves both sides."""
    directory.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = TlsFiles(*(str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem")))
    authority.cert_pem.write_to_path(files.ca)
    issued.cert_chain_pems[0].write_to_path(files.cert)
    issued.private_key_pem.write_to_path(files.key)
    return files
