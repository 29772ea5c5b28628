"""Joint orders, sides and mirroring, the MANO-schema model, keypoints to bone frames, the built-in CC0 hand."""
