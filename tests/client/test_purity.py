"""What importing the client loads: no server code, and no socket for its session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER = ("broker.core", "broker.cluster", "broker.storage", "broker.node", "broker.server")


def loaded_by(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_patterns_loads_no_server_code() -> None:
    loaded = loaded_by("import patterns")
    assert "patterns" in loaded
    assert not [m for m in loaded if m.startswith(SERVER) or m.split(".")[0] == "rocksdict"]


def test_importing_the_session_loads_no_socket_library() -> None:
    assert not [m for m in loaded_by("import broker.client.session") if m.startswith("zmq")]
