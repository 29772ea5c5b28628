"""Stands in for every stage in the tests of the graph: its outputs are a digest of its inputs and parameters.

Copied over `stages/*.py` of a temporary checkout, so that the whole graph runs in seconds and the outputs tell exactly what
went into them. Argument names are those of the real stages; a rule that passes another name than the real stage knows is
caught by tests/workflow/test_command_lines.py.
"""

import hashlib
import json
import sys
from pathlib import Path

from im2hands.io.atomic import write_text
from workflow.paths import TABLES
from workflow.trainings import TRAININGS

OUTPUTS = {"output", "audit", "meshes", "timings", "scenes"}
WITHOUT_EFFECT = {"threads", "gpus", "checkpoints"}
SUFFIXES = ("csv", "md", "tex", "parquet")
FOLDERS = {
    "write_hand_model": lambda _: ["MANO_RIGHT.npz", "MANO_LEFT.npz"],
    "synthesize_dataset": lambda split: [
        f"manifest_{split}.json",
        f"images/{split}/image1.jpg",
        *(
            f"annotations/{split}/InterHand2.6M_{split}_{kind}.json"
            for kind in ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
        ),
    ],
    **{
        f"train_{network}": lambda _: ["model.safetensors", "card.json", "metrics.json", "curves.csv"]
        for network in TRAININGS
    },
    "use_given_weights": lambda _: ["model.safetensors", "card.json", "metrics.json", "curves.csv"],
    "make_tables": lambda _: [
        *(f"{table}.{suffix}" for table in TABLES for suffix in SUFFIXES),
        "protocol_card.json",
        "protocol_card.md",
        "metrics.json",
    ],
}


def main() -> None:
    stage = Path(__file__).stem
    arguments: dict[str, list[str]] = {}
    for word in sys.argv[1:]:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            arguments[name] = []
        else:
            arguments[name].append(word)
    outputs = OUTPUTS if stage in ("reconstruct", "import_meshes") else OUTPUTS - {"meshes", "timings"}
    inputs = sorted(set(arguments) - outputs - WITHOUT_EFFECT)
    text = (
        json.dumps({"stage": stage, **{name: [_digest(value) for value in arguments[name]] for name in inputs}}) + "\n"
    )
    for name in outputs & set(arguments):
        for path in map(Path, arguments[name]):
            if name == "output" and stage in FOLDERS:
                for file in FOLDERS[stage]("".join(arguments.get("split", []))):
                    write_text(path / file, text)
            elif name == "scenes":
                write_text(path / "0_0.glb", text)
            else:
                write_text(path, text)


def _digest(value: str) -> str:
    """Hash of a file's or a folder's content; a value that is not a path is returned unchanged."""
    path = Path(value)
    if value.startswith("{") or not path.exists():
        return value
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


if __name__ == "__main__":
    main()
