"""Stage `gather_shards`: list the shards of a folder with their checksums, and remove shards of earlier runs."""

from im2hands.io.manifest import write_manifest
from im2hands.io.stage import stage_main


def main(shards: list[str], output: str) -> None:
    write_manifest(output, shards)
    print(f"{output}: {len(shards)} shards")


if __name__ == "__main__":
    stage_main(main)
