"""Names of tags and artifacts of a recorded run."""

from __future__ import annotations

CONFIG = "config.yaml"

DATASET = "dataset.json"

EXAMPLE = "model/input_example.json"

PROCESS = "process"

DESCRIBED = "described"

FAILURE = "failure"

STOP_REASON = "stop_reason"

SWEEP = "sweep"

WEIGHTS_FILE = "weights_file_sha256"

SYNC_URI, SYNC_RUN = "sync_uri", "sync_run"
"""Tags of a run that was recorded here while its server was away: where it belongs, and as which run there."""

TEST_FINGERPRINT = "test_fingerprint"

EVALUATED = "evaluated."
"""How the tag of an evaluation on other data begins; the prefix of its metrics follows. Its value is JSON."""

REPRODUCTION_OF, REPRODUCTION = "reproduction_of", "reproduction"
"""Tags of a run that has trained another one again: the id of that run, and what came out."""


def looks_at(fingerprint: str) -> str:
    """The tag that counts the evaluations of a run on the test images of this fingerprint."""
    return f"looks.{fingerprint[:16]}"
