"""What the tests of the core share."""

from __future__ import annotations

import pytest

from tests.support.node_rig import NodeRig


@pytest.fixture
def rig() -> NodeRig:
    """A node with one session, of PEER."""
    rig = NodeRig()
    rig.hello()
    return rig
