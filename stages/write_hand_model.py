"""Stage `write_hand_model`: write the built-in CC0 hands in the place of MANO's files, with the same keys."""

from im2hands.hands.model_files import write_hand_model_folder
from im2hands.io.stage import stage_main


def main(output: str) -> None:
    write_hand_model_folder(output)


if __name__ == "__main__":
    stage_main(main)
