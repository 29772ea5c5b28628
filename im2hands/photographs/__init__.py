"""A picture of one's own: its file, camera and keypoints, and the hands that are made of it."""
