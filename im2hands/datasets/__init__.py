"""InterHand2.6M reader and audit, the synthetic stand-in, frame, hand, image and query shards."""
